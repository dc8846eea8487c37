"""The HTTP API and the page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.requests import ClientDisconnect

from mbdcnn._version import __version__
from mbdcnn.inference.names import ProtocolName
from mbdcnn.inference.predictor import Predictor
from mbdcnn.inference.prompts import Prompts
from mbdcnn.serving.answers import NOTICE, Answer, Options, Problem, answer
from mbdcnn.serving.batching import Batcher, Job, PredictionError
from mbdcnn.serving.card import card
from mbdcnn.serving.facts import ModelAnswer, describe_model
from mbdcnn.serving.limits import Gate, Limits, RefusedError
from mbdcnn.serving.metrics import CONTENT_TYPE, Metrics
from mbdcnn.serving.shield import Shield, one_line_errors, problem
from mbdcnn.serving.uploads import BARE, FIELD, MASK, open_image, read_upload

logger = logging.getLogger(__name__)

PAGE = files("mbdcnn.serving") / "page"
PLACES = {"index.html": "/", "docs.html": "/docs"}
"""Addresses of files of the page that are not their names."""
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".jpg": "image/jpeg",
}
PAGES = {PLACES.get(file.name, f"/{file.name}"): file for file in PAGE.iterdir() if file.is_file()}
DECODERS = 2
"""Images decoded at the same time; a large one takes hundreds of megabytes while it is."""
LAST_SECONDS = 5.0
"""Longest wait for what still runs when every request has been answered or given up: nobody waits for it any more."""
_REASONS = {
    400: "No image, or a form that cannot be read.",
    408: "The upload took too long.",
    413: "Too many bytes or pixels.",
    415: "Not an image that can be read.",
    422: "A damaged image, an unknown option, or a mask, points or a box that do not fit the image.",
    503: "Busy; come back after the seconds in Retry-After.",
    504: "Took too long.",
}


class Service:
    """What one server is made of.

    Args:
        predictor: the model.
        protocol: what is used where a request names none.
        limits: what is taken.
    """

    def __init__(self, predictor: Predictor, protocol: ProtocolName, limits: Limits) -> None:
        self.limits = limits
        self.protocol = protocol
        self.predictor = predictor
        self.model = describe_model(predictor, protocol, limits)
        self.metrics = Metrics()
        self.gate = Gate(limits.queue)
        self.metrics.watch_admitted(lambda: self.gate.taken)
        self.batcher = Batcher(predictor, limits, self.metrics)
        self.decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decoder")

    async def predict(self, request: Request) -> bytes:
        """Answer one request for a prediction.

        Raises:
            RefusedError: it is not done.
        """
        with self.gate.place():
            upload = await read_upload(request, self.limits)
            options = Options.parse(dict(request.query_params) | upload.fields)
            prompts = options.prompts(upload.mask)
            try:
                async with asyncio.timeout(self.limits.timeout):
                    return await _unless_gone(request, self._predict(upload.image, options, prompts))
            except TimeoutError:
                reason = f"not done within {self.limits.timeout:g} seconds; try later, or with protocol=fast"
                raise RefusedError(504, reason) from None

    async def _predict(self, image: bytes, options: Options, prompts: Prompts) -> bytes:
        protocol = options.protocol or self.protocol
        work = partial(open_image, image, self.limits, self.predictor, protocol, prompts, options.shown)
        inputs = await asyncio.get_running_loop().run_in_executor(self.decoders, work)
        finish = partial(answer, options=options, model=self.model.fingerprint)
        return await asyncio.wrap_future(self.batcher.submit(Job(inputs, protocol, finish)))

    @asynccontextmanager
    async def running(self, app: FastAPI) -> AsyncIterator[None]:
        """Work for as long as the server runs, and finish what was begun."""
        self.batcher.start()
        try:
            yield
        finally:
            await asyncio.to_thread(self.batcher.close, LAST_SECONDS)
            self.decoders.shutdown(cancel_futures=True)


def create_app(predictor: Predictor, protocol: ProtocolName = "fast", limits: Limits | None = None) -> FastAPI:
    """Make the application that serves a model.

    Args:
        predictor: the model.
        protocol: what is used where a request names none.
        limits: what is taken.
    """
    service = Service(predictor, protocol, limits or Limits())
    app = FastAPI(
        title="mbdcnn",
        version=__version__,
        description=f"Outlines the lesion in a dermoscopy image and classifies it. **{NOTICE}**",
        lifespan=service.running,
        # FastAPI's own pages fetch their code from the internet.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(Shield, metrics=service.metrics)
    one_line_errors(app)
    _add_api(app, service)
    _add_state(app, service)
    _add_pages(app, service)
    return app


def _add_api(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/predictions",
        summary="Outline and classify the lesion in one image",
        response_class=Response,
        responses={
            200: {"description": "What the model makes of it.", "model": Answer},
            **{status: {"description": reason, "model": Problem} for status, reason in _REASONS.items()},
        },
        openapi_extra=_request_schema(),
    )
    async def predict(request: Request) -> Response:
        try:
            return Response(await service.predict(request), media_type="application/json")
        except (RefusedError, ClientDisconnect):
            raise
        # What went wrong may tell of the image, so it is in the log and the client gets none of it.
        except Exception as error:
            if not isinstance(error, PredictionError):
                logger.exception("a request failed")
            return problem(500, "the prediction failed; the server's log says why")

    @app.get("/v1/model", summary="What model this is")
    async def model() -> ModelAnswer:
        return service.model


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", summary="Whether the server is alive")
    async def health() -> Response:
        return JSONResponse({"status": "alive"}) if service.batcher.running else problem(503, "stopped")

    @app.get("/readyz", summary="Whether an image would be taken now")
    async def readiness() -> Response:
        if not service.batcher.running:
            return problem(503, "stopping", retry_after=1)
        if service.gate.taken >= service.gate.places:
            return problem(503, "busy", retry_after=1)
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Counts and times for Prometheus", response_class=Response)
    async def metrics() -> Response:
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_pages(app: FastAPI, service: Service) -> None:
    contents = {path: (file.read_bytes(), TYPES[Path(file.name).suffix]) for path, file in PAGES.items()}
    contents["/card"] = (card(service.predictor.bundle).encode(), "text/html")
    for path, (content, kind) in contents.items():
        app.add_api_route(path, partial(_constant, content, kind), include_in_schema=False)


async def _constant(content: bytes, kind: str) -> Response:
    return Response(content, media_type=kind)


async def _unless_gone(request: Request, work: Awaitable[bytes]) -> bytes:
    """Wait for an answer, or give up when nobody waits for it any more.

    Raises:
        ClientDisconnect: the client went away.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ClientDisconnect
    finally:
        task.cancel()
        gone.cancel()


def _request_schema() -> dict[str, Any]:
    """Describe options and upload, which are read by hand so that nothing touches the disk."""
    options = Options.model_json_schema()["properties"]
    image = {"type": "string", "format": "binary"}
    mask = image | {
        "contentMediaType": "image/png",
        "description": "The lesion as a person outlined it, taken as the coarse mask in place of the model's: a PNG of "
        "the image's size as shown (turned by its EXIF orientation), white on the lesion, with hard edges.",
    }
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: image, MASK: mask, **options}}
    return {
        "parameters": [
            {"name": name, "in": "query", "required": False, "description": schema.pop("description"), "schema": schema}
            for name, schema in Options.model_json_schema()["properties"].items()
        ],
        "requestBody": {
            "required": True,
            "description": f"The image: the file '{FIELD}' of a form, or the bare file.",
            "content": {
                "multipart/form-data": {"schema": form},
                "image/*": {"schema": image},
                **{kind: {"schema": image} for kind in BARE},
            },
        },
    }
