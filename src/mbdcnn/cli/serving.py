"""The command that serves a model over HTTP."""

from __future__ import annotations

import ipaddress
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tyro.conf import OmitArgPrefixes

from mbdcnn.cli.verb import NOTICE, Verb
from mbdcnn.inference.names import ProtocolName, RuntimeChoice
from mbdcnn.serving.limits import Limits


@dataclass(kw_only=True)
class Serve(Verb):
    """Serve a model over HTTP, with a page to use it on."""

    model: Path | None = None
    """Bundle to serve; `bundled`, the model that comes with the package, if not given."""
    host: str = "127.0.0.1"
    """Address to listen on: 127.0.0.1 for this machine alone, 0.0.0.0 for all that reach it."""
    port: int = 8000
    """Port to listen on; 0 for any that is free."""
    protocol: ProtocolName = "fast"
    """What a request gets that names none. fast: one view of each network; paper: all views and scales."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    runtime: RuntimeChoice = "auto"
    """What runs the networks, as for `predict`."""
    limits: OmitArgPrefixes[Limits] = field(default_factory=Limits)
    """What is taken."""

    def run(self) -> None:
        """Load the model, try it, and serve until told to stop."""
        from PIL import Image

        from mbdcnn.inference.predictor import Predictor
        from mbdcnn.serving.app import create_app
        from mbdcnn.serving.server import listen, make_server, run

        predictor = Predictor.load(self.model, device=self.device, runtime=self.runtime)
        # The first prediction is slow, and what fails is better known now.
        predictor.predict(Image.new("RGB", (64, 64), (200, 160, 140)), self.protocol)
        with listen(self.host, self.port) as listener:
            host, port = listener.getsockname()[:2]
            address = f"[{host}]" if ":" in host else host
            print(f"{predictor.bundle.path} at http://{address}:{port} (Ctrl+C stops). {NOTICE}", flush=True)
            if not ipaddress.ip_address(host).is_loopback and not self.quiet:
                print(
                    "anyone who can reach this address can use it: put a proxy with a login before it", file=sys.stderr
                )
            run(make_server(create_app(predictor, self.protocol, self.limits), self.limits), listener)
