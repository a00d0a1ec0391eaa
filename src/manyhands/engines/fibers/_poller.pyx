# cython: language_level=3, binding=True, boundscheck=False, wraparound=False
"""Which fibers wait for which descriptors, compiled. What it does and why is written in `poller`.

It has the names of `plain_poller`, and is under the same tests. Beyond sparing the interpreter's work it receives and
sends without giving up the interpreter lock: these calls do not block, and to give the lock up and get it
back costs more than most of them take.
"""

import os
import sys
import time
from socket import SocketIO

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetFromErrno
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from cpython.pycapsule cimport PyCapsule_Import
from cpython.ref cimport Py_DECREF, Py_XDECREF, PyObject
from libc.errno cimport EAGAIN, EBADF, EEXIST, EINTR, EINVAL, errno

from gevent.exceptions import BlockingSwitchOutError

from .foreign_threads import DescriptorWait, cannot_watch, wait_in_foreign_thread
from .spinning import note_end

cdef extern from "Python.h":
    ctypedef object (*descrgetfunc)(object, object, object)
    ctypedef struct PyTypeObject:
        descrgetfunc tp_descr_get
    PyTypeObject* Py_TYPE(object)

cdef extern from "pythread.h":
    unsigned long PyThread_get_thread_ident() nogil

cdef extern from "sys/epoll.h" nogil:
    ctypedef union epoll_data_t:
        int fd
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int operation, int descriptor, epoll_event* event)
    int epoll_wait(int epoll, epoll_event* events, int at_most, int timeout)
    enum:
        EPOLLIN, EPOLLOUT, EPOLLERR, EPOLLHUP, EPOLL_CLOEXEC
        EPOLL_CTL_ADD, EPOLL_CTL_MOD, EPOLL_CTL_DEL

cdef extern from "sys/socket.h" nogil:
    ssize_t c_recv "recv"(int descriptor, void* buffer, size_t length, int flags)
    int c_shutdown "shutdown"(int descriptor, int how)
    int c_getsockopt "getsockopt"(int descriptor, int level, int option, void* value, unsigned int* length)
    ssize_t c_send "send"(int descriptor, const void* buffer, size_t length, int flags)
    enum:
        MSG_DONTWAIT, MSG_NOSIGNAL

cdef extern from "string.h" nogil:
    void* memset(void* memory, int value, size_t length)

cdef extern from "unistd.h" nogil:
    int c_close "close"(int descriptor)

cdef extern from *:
    unsigned int MADE_OF

made_of = MADE_OF
"""The checksum of this source."""

# What greenlet's header makes of the table that greenlet hands out, by the places that it gives its functions
# there. Without the header the build asks for no greenlet, which a machine without a compiler may not have yet.
ctypedef PyObject PyGreenlet
ctypedef PyGreenlet* (*get_current_t)() except NULL
ctypedef PyObject* (*switch_t)(PyGreenlet* greenlet, PyObject* arguments, PyObject* keywords)
cdef void** greenlets = <void**> PyCapsule_Import("greenlet._C_API", 0)
cdef get_current_t PyGreenlet_GetCurrent = <get_current_t> greenlets[4]
cdef switch_t PyGreenlet_Switch = <switch_t> greenlets[6]

DEF BATCH = 256
DEF BUFFER = 256 * 1024

cdef char received[BUFFER]  # used and left without giving up the interpreter lock in between

cdef object TIMED_OUT = object()

cdef unsigned int GONE = EPOLLERR | EPOLLHUP


cdef object channel_of = None  # the slot: an attribute of gevent's sockets is slow to find


def set_slot(slot):
    """Say by which slot a socket holds its channel."""
    global channel_of
    channel_of = slot


cdef inline Channel channel_in(object sock):
    return <Channel> Py_TYPE(channel_of).tp_descr_get(channel_of, sock, <object> Py_TYPE(sock))


cdef inline object current():
    cdef object fiber = <object> <PyObject*> PyGreenlet_GetCurrent()
    Py_DECREF(fiber)  # the call gave us a reference, and so did the conversion
    return fiber


@cython.no_gc_clear
cdef class Poller:
    """Wakes the fibers of one thread when their descriptors are ready: see `plain_poller.Poller`."""

    cdef readonly object hub
    cdef readonly unsigned long thread
    cdef int epoll
    cdef PyObject** channels  # by descriptor; each takes itself out before it goes
    cdef int size
    cdef object watcher
    cdef epoll_event ready[BATCH]
    cdef int position, count
    cdef bint is_writers_turn

    def __init__(self, hub):
        self.hub = hub
        self.thread = PyThread_get_thread_ident()
        self.epoll = epoll_create1(EPOLL_CLOEXEC)
        if self.epoll < 0:
            PyErr_SetFromErrno(OSError)
        self.watcher = hub.loop.io(self.epoll, 1)
        self.watcher.start(self._dispatch)

    def __cinit__(self):
        self.epoll = -1

    def __dealloc__(self):
        if self.epoll >= 0:
            c_close(self.epoll)
        PyMem_Free(self.channels)

    @property
    def is_open(self):
        """Whether fibers can wait: not any more once it is closed, nor in a process forked from this one."""
        return self.epoll >= 0

    def close(self):
        """Give the descriptor back; no fiber may wait any more. For the poller's own thread."""
        self.watcher.close()
        self.forget()

    def forget(self):
        """Close this process's copy of the epoll descriptor, which a forked process shares."""
        if self.epoll >= 0:
            c_close(self.epoll)
            self.epoll = -1

    def _dispatch(self):
        cdef object fiber
        self.position = self.count = 0
        self.is_writers_turn = False
        self.count = max(0, epoll_wait(self.epoll, self.ready, BATCH, 0))
        while True:
            fiber = self.next()
            if fiber is None:
                return
            try:
                self.run(fiber)
            except BaseException:
                # Of a fiber of the program's; an engine's ends with what it raises.
                self.hub.handle_error(fiber, *sys.exc_info())

    cdef int run(self, object fiber) except -1:
        cdef PyObject* said = PyGreenlet_Switch(<PyGreenlet*> <PyObject*> fiber, NULL, NULL)
        if said is NULL:
            return -1
        Py_XDECREF(said)
        return 0

    cdef object next(self):
        """Return the next fiber whose descriptor is ready; None when there is none."""
        cdef epoll_event* event
        cdef PyObject* channel
        cdef object fiber
        while self.position < self.count:
            event = &self.ready[self.position]
            channel = self.channels[event.data.fd] if event.data.fd < self.size else NULL
            fiber = None
            if channel is NULL and not self.is_writers_turn:
                # A connection that was not closed here, or before: another process, or a duplicate, has it open.
                self.forget_descriptor(event.data.fd)
            if channel is NULL or self.is_writers_turn:
                self.position += 1
                self.is_writers_turn = False
                if channel is not NULL and event.events & (EPOLLOUT | GONE):
                    fiber = (<Channel> channel).take_writer()
            else:
                self.is_writers_turn = True
                if event.events & (EPOLLIN | GONE):
                    fiber = (<Channel> channel).take_reader()
            if fiber is not None:
                return fiber
        return None

    cdef PyObject* give_way(self, PyObject* fiber) except? NULL:
        """Let the next fiber run that is ready, or the hub; return what the wake-up passes."""
        cdef object following = self.next()
        cdef PyGreenlet* target
        if <PyObject*> following is fiber:
            return NULL
        target = <PyGreenlet*> <PyObject*> (self.hub if following is None else following)
        # Not owned while this fiber waits: it may wait for longer than the other one lives. (The switch holds it.)
        following = None
        return PyGreenlet_Switch(target, NULL, NULL)

    cdef int add(self, Channel channel) except -1:
        cdef int size = self.size
        cdef PyObject** channels
        if channel.fd >= size:
            size = max(2 * size, channel.fd + 64)
            channels = <PyObject**> PyMem_Realloc(self.channels, size * sizeof(PyObject*))
            if channels is NULL:
                raise MemoryError
            memset(channels + self.size, 0, (size - self.size) * sizeof(PyObject*))
            self.channels, self.size = channels, size
        self.channels[channel.fd] = <PyObject*> channel
        return 0

    cdef void forget_descriptor(self, int descriptor) noexcept:
        cdef epoll_event event
        if self.epoll >= 0:
            epoll_ctl(self.epoll, EPOLL_CTL_DEL, descriptor, &event)

    cdef bint discard(self, Channel channel):
        """Take a channel out; return whether it was there."""
        if channel.fd < 0 or self.channels[channel.fd] is not <PyObject*> channel:
            return False
        self.channels[channel.fd] = NULL
        return True

    def wait_any(self, list channels, timeout):
        """Wait until one of several channels can be read; return the descriptors of those that can."""
        cdef object fiber = current()
        cdef object timer = None
        cdef Channel channel
        try:
            for channel in channels:
                self.watch(channel, channel.events | EPOLLIN)
                channel.reader = fiber
            if timeout is not None:
                timer = self.hub.loop.timer(timeout)
                timer.start(_wake, channels, fiber)
            Py_XDECREF(self.give_way(<PyObject*> fiber))
            return [(<Channel> each).fd for each in channels if (<Channel> each).reader is not fiber]
        finally:
            for channel in channels:
                channel.forget(EPOLLIN, fiber)
            if timer is not None:
                timer.close()

    cdef int watch(self, Channel channel, unsigned int events) except -1:
        """Have epoll tell of these events of a channel; of none: have it forget the channel."""
        cdef epoll_event event
        cdef unsigned int before = channel.events
        cdef int operation
        channel.events = events
        if self.epoll < 0 or events == before:
            return 0
        event.events = events
        event.data.fd = channel.fd
        operation = EPOLL_CTL_MOD if before else EPOLL_CTL_ADD
        if not events:
            operation = EPOLL_CTL_DEL
        if epoll_ctl(self.epoll, operation, channel.fd, &event) == 0 or not events:
            return 0
        if errno == EEXIST and epoll_ctl(self.epoll, EPOLL_CTL_MOD, channel.fd, &event) == 0:
            # Left by a channel that a signal kept from closing.
            return 0
        channel.events = before
        raise cannot_watch(errno)


# Each is there for as long as it may have to take itself out of its poller.
@cython.no_gc_clear
cdef class Channel:
    """A descriptor, and the fibers that wait for it: see `plain_poller.Channel`."""

    cdef readonly Poller poller
    cdef readonly int fd
    cdef public bint is_closed
    cdef public int ends
    cdef object seconds
    cdef object kernel_limits
    cdef bint is_owner, is_patient, waits, waits_simply, is_fresh
    cdef unsigned int events
    cdef object reader, writer
    cdef set beside

    def __cinit__(self):
        self.fd = -1

    def __init__(self, Poller poller, int fd):
        if fd < 0:
            raise OSError(EBADF, os.strerror(EBADF))
        self.poller = poller
        self.fd = fd
        self.is_owner = True
        self.is_fresh = True
        self.timeout = None
        poller.add(self)

    def __dealloc__(self):
        # It was never closed: then the poller must not find it any more, nor epoll tell of a duplicate.
        if self.poller is not None and self.poller.discard(self):
            self.poller.forget_descriptor(self.fd)
        if self.is_owner and self.fd >= 0:
            c_close(self.fd)

    def give_up(self):
        """Return the descriptor, which the caller closes from now on."""
        self.is_owner = False
        return self.fd

    def shutdown(self, int how):
        """Shut the connection down (shutdown(2))."""
        if c_shutdown(self.fd, how) < 0:
            PyErr_SetFromErrno(OSError)

    def getsockopt(self, int level, int option, unsigned int length):
        """Return up to `length` bytes of an option (getsockopt(2))."""
        cdef char value[1024]
        self.check_open()
        if length > sizeof(value):
            raise OSError(EINVAL, os.strerror(EINVAL))
        if c_getsockopt(self.fd, level, option, value, &length) < 0:
            PyErr_SetFromErrno(OSError)
        return PyBytes_FromStringAndSize(value, length)

    @property
    def timeout(self):
        """Seconds that the functions below wait: None for ever, 0 not at all."""
        return self.seconds

    @timeout.setter
    def timeout(self, seconds):
        self.seconds = seconds
        self.is_patient = seconds is None
        self.waits = seconds is None or seconds > 0
        self.waits_simply = self.waits and self.kernel_limits is None

    @property
    def limits(self):
        """The limits that the program has set in the kernel (`Limits`); None without."""
        return self.kernel_limits

    @limits.setter
    def limits(self, limits):
        self.kernel_limits = limits
        self.waits_simply = self.waits and limits is None

    def wait(self, unsigned int event, timeout=None):
        """Wait, in any thread, until the descriptor is ready for `READ` or `WRITE`."""
        self.wait_for(event, timeout)

    cdef int wait_for(self, unsigned int event, object timeout) except -1:
        cdef object waiting
        self.check_open()
        waiting = self.reader if event == EPOLLIN else self.writer
        if self.poller.thread != PyThread_get_thread_ident() or self.poller.epoll < 0:
            wait_in_foreign_thread(self.fd, event, timeout)
        elif waiting is not None:
            self.wait_beside(event, timeout)
        else:
            self.wait_here(event, timeout)
        self.check_open()
        return 0

    cdef int wait_to_send(self, object timeout) except -1:
        if timeout is not None or self.kernel_limits is None:
            return self.wait_for(EPOLLOUT, timeout)
        try:
            return self.wait_for(EPOLLOUT, self.kernel_limits.send)
        except TimeoutError:
            raise BlockingIOError(EAGAIN, os.strerror(EAGAIN))

    cdef int check_open(self) except -1:
        if self.fd < 0 or self.is_closed:
            raise OSError(EBADF, os.strerror(EBADF))
        return 0

    cdef int wait_beside(self, unsigned int event, object timeout) except -1:
        """Wait for what another fiber waits for already."""
        cdef object wait = DescriptorWait(self.poller.hub, self.fd, event)
        if self.beside is None:
            self.beside = set()
        self.beside.add(wait)
        try:
            wait.wait(timeout)
        finally:
            self.beside.discard(wait)
        return 0

    cdef int wait_here(self, unsigned int event, object timeout) except -1:
        cdef object fiber = current()
        cdef PyObject* said
        if fiber is self.poller.hub:
            raise BlockingSwitchOutError("the hub itself cannot wait for a connection")
        if not self.events & event:
            self.poller.watch(self, self.events | event)
        if timeout is not None:
            return self.wait_for_so_long(event, fiber, timeout)
        self.note(event, fiber)
        try:
            said = self.poller.give_way(<PyObject*> fiber)
        except:
            # An exception was thrown into the fiber while it waited.
            self.forget(event, fiber)
            raise
        Py_XDECREF(said)
        return 0

    cdef int wait_for_so_long(self, unsigned int event, object fiber, object timeout) except -1:
        cdef object timer = self.poller.hub.loop.timer(timeout)
        cdef PyObject* said
        cdef bint has_timed_out
        try:
            timer.start(self._time_out, event, fiber)
            self.note(event, fiber)
            said = self.poller.give_way(<PyObject*> fiber)
            has_timed_out = said is <PyObject*> TIMED_OUT
            Py_XDECREF(said)
            if has_timed_out and self.fd >= 0:
                raise TimeoutError("timed out")
        finally:
            self.forget(event, fiber)
            timer.close()
        return 0

    cdef int note(self, unsigned int event, object fiber) except -1:
        if event == EPOLLIN:
            self.reader = fiber
        else:
            self.writer = fiber
        return 0

    cdef bint forget(self, unsigned int event, object fiber) except -1:
        """Note that `fiber` no longer waits; return whether it did."""
        cdef bint waits = (self.reader if event == EPOLLIN else self.writer) is fiber
        if waits:
            self.note(event, None)
        return waits

    def _time_out(self, unsigned int event, fiber):
        """Wake a fiber that has waited long enough. Runs in the hub."""
        if self.forget(event, fiber):
            fiber.switch(TIMED_OUT)

    def is_waited_for(self, unsigned int event):
        """Tell whether a fiber of the poller's thread waits for `READ` or `WRITE`."""
        return (self.reader if event == EPOLLIN else self.writer) is not None

    cdef object take_reader(self):
        cdef object fiber = self.reader
        self.reader = None
        if fiber is None:
            self.poller.watch(self, self.events & ~EPOLLIN)
        return fiber

    cdef object take_writer(self):
        cdef object fiber = self.writer
        self.writer = None
        # A descriptor can be written to nearly always.
        self.poller.watch(self, self.events & ~EPOLLOUT)
        return fiber

    def close(self):
        """Have epoll forget the descriptor; fibers that wait get an error. For the poller's own thread."""
        if self.poller.discard(self):
            # Else the program closed the descriptor itself, and another file has its number by now.
            self.poller.watch(self, 0)
        for wait in self.beside or ():
            wait.end()
        if self.is_owner and self.fd >= 0:
            c_close(self.fd)
        self.fd = -1
        if self.reader is not None:
            self.poller.hub.loop.run_callback(self._time_out, EPOLLIN, self.reader)
        if self.writer is not None:
            self.poller.hub.loop.run_callback(self._time_out, EPOLLOUT, self.writer)

    cdef bint may_try(self) except -1:
        """Tell, once, whether to receive without waiting: a request may have come with the connection."""
        cdef bint was_fresh = self.is_fresh
        self.is_fresh = False
        if was_fresh:
            self.check_open()
        return was_fresh

    cdef int would_block(self) except -1:
        """Tell whether a call that failed only has to be repeated once the descriptor is ready, or raise."""
        if errno == EINTR:
            PyErr_CheckSignals()
            return 0
        if errno != EAGAIN or not self.waits:
            PyErr_SetFromErrno(OSError)
        return 1


def _wake(list channels, fiber):
    """Wake a fiber that waits for all of these channels. Runs in the hub."""
    cdef Channel channel
    for channel in channels:
        if channel.reader is not fiber:
            return
    fiber.switch()


def recv(sock, Py_ssize_t bufsize, int flags=0):
    """Receive up to `bufsize` bytes; ``b""`` when the peer has shut its side down."""
    cdef Channel channel = channel_in(sock)
    cdef ssize_t count
    if flags or not channel.waits_simply or bufsize <= 0 or bufsize > BUFFER:
        return sock.recv_with_flags(bufsize, flags)
    while True:
        if not channel.may_try():
            channel.wait_for(EPOLLIN, channel.seconds)
        count = c_recv(channel.fd, received, bufsize, MSG_DONTWAIT)
        if count > 0:
            return PyBytes_FromStringAndSize(received, count)
        if count == 0:
            note_end(channel)
            return b""
        channel.would_block()


def recv_into(sock, buffer, Py_ssize_t nbytes=0, int flags=0):
    """Receive into `buffer`, at most `nbytes` bytes (0: as many as fit); return how many."""
    cdef Channel channel = channel_in(sock)
    cdef Py_buffer view
    cdef ssize_t count
    if flags or not channel.waits_simply or nbytes < 0:
        return sock.recv_into_with_flags(buffer, nbytes, flags)
    try:
        PyObject_GetBuffer(buffer, &view, PyBUF_WRITABLE)
    except BufferError:
        raise TypeError(f"a read-write bytes-like object is required, not {type(buffer).__name__}")
    try:
        if nbytes > view.len:
            raise ValueError("buffer too small for requested bytes")
        if view.len == 0:
            return 0
        while True:
            if not channel.may_try():
                channel.wait_for(EPOLLIN, channel.seconds)
            count = c_recv(channel.fd, view.buf, nbytes or view.len, MSG_DONTWAIT)
            if count > 0:
                return count
            if count == 0:
                note_end(channel)
                return 0
            channel.would_block()
    finally:
        PyBuffer_Release(&view)


def readinto(self, buffer):
    """Read into `buffer`: the method `readinto` of a `socket.SocketIO`, on a shorter way."""
    cdef object sock = self._sock
    if sock is None or self._timeout_occurred or not self._reading:
        return SocketIO.readinto(self, buffer)  # which raises the reason
    try:
        return recv_into(sock, buffer)
    except TimeoutError:
        self._timeout_occurred = True
        raise
    except BlockingIOError:
        return None


def send(sock, data, int flags=0):
    """Send what a socket that blocks would send: all of `data`, or some of it if there is a timeout."""
    cdef Channel channel = channel_in(sock)
    cdef Py_buffer view
    cdef ssize_t count
    cdef ssize_t sent = 0
    if flags & MSG_DONTWAIT:
        return sock.plain.send(data, flags)
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while True:
            channel.check_open()
            count = c_send(
                channel.fd, <char*> view.buf + sent, view.len - sent,
                flags | MSG_DONTWAIT | MSG_NOSIGNAL,
            )
            if count >= 0:
                sent += count
                if sent == view.len or not channel.is_patient:
                    return sent
                continue
            try:
                if channel.would_block():
                    channel.wait_to_send(channel.seconds)
            except OSError:
                if not sent:
                    raise
                return sent  # the next call will meet the error
    finally:
        PyBuffer_Release(&view)


def sendall(sock, data, int flags=0):
    """Send all of `data`; the timeout is for all of it."""
    cdef Channel channel = channel_in(sock)
    cdef Py_buffer view
    cdef ssize_t count
    cdef ssize_t sent = 0
    cdef object deadline = None
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        while True:
            channel.check_open()
            count = c_send(
                channel.fd, <char*> view.buf + sent, view.len - sent,
                flags | MSG_DONTWAIT | MSG_NOSIGNAL,
            )
            if count >= 0:
                sent += count
                if sent == view.len:
                    return
            elif flags & MSG_DONTWAIT:
                PyErr_SetFromErrno(OSError)
            elif channel.would_block():
                if not channel.is_patient and deadline is None:
                    deadline = time.monotonic() + channel.seconds
                channel.wait_to_send(left_until(deadline))
    finally:
        PyBuffer_Release(&view)


cdef object left_until(object deadline):
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("timed out")
    return left
