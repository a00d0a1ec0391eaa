"""What pages tell of: any server of ours."""

import socketserver as standard
from typing import TypeAlias

from manyhands.dropin.base import BaseServer
from manyhands.serving.controls import Controllable

AnyServer: TypeAlias = Controllable | BaseServer | standard.BaseServer
"""A `manyhands.Server`, or a server of `manyhands.socketserver`; a mix-in of ours may stand on a class of the
standard library's, too."""
