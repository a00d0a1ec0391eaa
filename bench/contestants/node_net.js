// Node.js: net, with the socket piped into itself as its documentation has it; readline for lines; dgram.
// TCP_NODELAY is not set.
"use strict";

const dgram = require("node:dgram");
const net = require("node:net");
const readline = require("node:readline");

function serveStreams(handle) {
  const server = net.createServer(handle);
  server.listen({ port: 0, host: "127.0.0.1", backlog: 1024 }, () => console.log(server.address().port));
}

const services = {
  echo: () => serveStreams((connection) => connection.pipe(connection)),
  lines: () =>
    serveStreams((connection) => {
      const lines = readline.createInterface({ input: connection, crlfDelay: Infinity });
      lines.on("line", (line) => connection.write(line + "\n"));
    }),
  udp: () => {
    const server = dgram.createSocket("udp4");
    server.on("message", (message, peer) => server.send(message, peer.port, peer.address));
    server.bind(0, "127.0.0.1", () => console.log(server.address().port));
  },
};

services[process.argv[2]]();
