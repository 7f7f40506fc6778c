"""The local web page over the outputs of every revision: `./seedmask browse`.

Everything is read; the one thing it writes is a mark on an image (`pipelines.review`). It answers
to this machine alone, and shows nothing but what dvc.lock names.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from jinja2 import StrictUndefined
from pydantic import BaseModel
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.browse import pages, text
from pipelines.browse.library import Library
from pipelines.browse.review_page import doubted_image, review_page
from pipelines.browse.states import activity, standings
from pipelines.graph.objects import MissingObject
from pipelines.graph.revisions import WORKSPACE
from pipelines.look import drawing
from pipelines.look.compare import Comparison
from pipelines.look.layers import Catalogue
from pipelines.review.doubt import final_layer
from pipelines.review.marks import Marks, Verdict
from stages.engine.errors import InputError
from stages.io.pictures import encode_png

HERE = Path(__file__).parent
HOSTS = ["127.0.0.1", "localhost"]
LARGEST = 4096  # pixels
POLICY = "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'"
HEADERS = [
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
]
Rev = Annotated[str, Query(max_length=200)]
Side = Annotated[int | None, Query(ge=16, le=LARGEST)]
Page = Annotated[int, Query(ge=1, le=1_000_000)]


def create_app(root: Path) -> FastAPI:
    """The application over the repository at `root`."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False)
    app.mount("/static", StaticFiles(directory=HERE / "static"), name="static")
    library = Library(root)
    show = _renderer(library)
    _guard(app, show)
    _add_pages(app, library, show)
    _add_pictures(app, library)
    _add_streams(app, library)
    return app


class Wanted(BaseModel):
    """A mark on an image of the workspace; None takes it away."""

    id: str
    mark: Verdict | None


Show = Callable[..., HTMLResponse]


def _renderer(library: Library) -> Show:
    """What turns a template and its context into a page."""
    templates = Jinja2Templates(directory=HERE / "templates")
    environment = templates.env
    environment.autoescape = True  # by itself it is on for .html only, not for .html.j2
    environment.undefined = StrictUndefined
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {
        "seconds": text.seconds,
        "bytes": text.size,
        "value": text.value,
        "when": text.when,
    }
    environment.globals |= {"link": _link, "WORKSPACE": WORKSPACE}

    def show(request: Request, name: str, status: int = 200, /, **context: Any) -> HTMLResponse:
        here = {"rev": WORKSPACE, "repository": library.root.name, **context}
        return templates.TemplateResponse(request, f"{name}.html.j2", here, status_code=status)

    return show


def _link(page: str, /, **query: object) -> str:
    """An address of this page; what is None is left out, and so is the workspace."""
    wanted = {key: value for key, value in query.items() if value is not None}
    if wanted.get("rev") == WORKSPACE:
        del wanted["rev"]
    return f"/{page}?{urlencode(wanted)}" if wanted else f"/{page}"


class Guard:
    """Refuses changes that another site asks for, and tells the browser to trust this one alone."""

    def __init__(self, app: ASGIApp) -> None:
        """Stand before `app`."""
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], *HEADERS]
            await send(message)

        request = Request(scope)
        if request.method not in ("GET", "HEAD") and not _is_from_here(request):
            refusal = JSONResponse({"detail": "only from this page"}, status_code=403)
            await refusal(scope, receive, guarded)
            return
        await self.app(scope, receive, guarded)


def _is_from_here(request: Request) -> bool:
    """Whether a request that changes something comes from a page of this server."""
    here = f"{request.url.scheme}://{request.headers.get('host')}"
    same_site = request.headers.get("sec-fetch-site", "same-origin") == "same-origin"
    return same_site and request.headers.get("origin", here) == here


def _guard(app: FastAPI, show: Show) -> None:
    """What cannot be shown, and what keeps other sites out."""
    app.add_middleware(Guard)

    @app.exception_handler(InputError)
    async def not_there(request: Request, error: InputError) -> Response:
        return show(request, "notice", 404, title="Not here", text=str(error))

    @app.exception_handler(MissingObject)
    async def missing(request: Request, error: MissingObject) -> Response:
        return show(request, "notice", 200, title="Missing", text=str(error))

    @app.exception_handler(RequestValidationError)
    async def misspelt(request: Request, error: RequestValidationError) -> Response:
        problems = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        return show(request, "notice", 422, title="Not understood", text="; ".join(problems))

    @app.exception_handler(Exception)
    async def fault(request: Request, error: Exception) -> Response:
        text = "A fault of this page, not of your data; the terminal says where."
        answer = show(request, "notice", 500, title="Fault", text=text)
        answer.raw_headers += HEADERS  # it is sent past the guard
        return answer


def _add_pages(app: FastAPI, library: Library, show: Show) -> None:
    @app.get("/")
    def graph(request: Request, rev: Rev = WORKSPACE) -> HTMLResponse:
        """The graph as a picture."""
        return show(request, "graph", **pages.graph_page(library, rev))

    @app.get("/stage")
    def stage(
        request: Request,
        name: str,
        rev: Rev = WORKSPACE,
        layer: str | None = None,
        page: Page = 1,
        split: str | None = None,
        find: str = "",
    ) -> HTMLResponse:
        """One stage: what it is, its numbers, its pictures."""
        context = pages.stage_page(library, rev, name, layer, page, split, find)
        return show(request, "stage", **context)

    @app.get("/image")
    def image(request: Request, id: str, rev: Rev = WORKSPACE) -> HTMLResponse:
        """One image through all stages."""
        return show(request, "image", **pages.image_page(library, rev, id))

    @app.get("/compare")
    def compare(
        request: Request, first: str = "", second: str = "", layer: str | None = None
    ) -> HTMLResponse:
        """Two revisions of a layer."""
        return show(request, "compare", **pages.compare_page(library, first, second, layer))

    @app.get("/review")
    def review(request: Request, rev: Rev = WORKSPACE) -> HTMLResponse:
        """Which images to correct by hand."""
        return show(request, "review", **review_page(library, rev))

    @app.get("/review.csv")
    def marks() -> Response:
        """The marks, as a file."""
        headers = {"Content-Disposition": 'attachment; filename="marks.csv"'}
        return Response(Marks(library.root).text(), media_type="text/csv", headers=headers)

    @app.post("/review/mark")
    def mark(wanted: Wanted) -> dict[str, str | None]:
        """Set or remove the mark of an image."""
        layer = final_layer(_of(library, WORKSPACE, wanted.id))
        if wanted.id not in layer.files:
            raise HTTPException(404)
        Marks(library.root).set(wanted.id, wanted.mark, layer.files[wanted.id][1])
        return {"id": wanted.id, "mark": wanted.mark}

    @app.get("/states")
    def states() -> list[dict[str, str]]:
        """Where each stage of the workspace stands."""
        return [asdict(standing) for standing in standings(library.root)]

    @app.get("/activity")
    def now() -> dict[str, object]:
        """What runs at this moment."""
        return activity(library.root)

    @app.get("/file")
    def file(path: str, rev: Rev = WORKSPACE) -> Response:
        """The bytes of one output file, to be saved."""
        revision = library.revision(rev)
        owner = revision.owner(path)
        files = library.objects.files(revision, *owner) if owner else {}
        if path not in files:
            raise HTTPException(404)
        content = library.objects.file(revision, path, files[path]).read_bytes()
        headers = {"Content-Disposition": "attachment"}
        return Response(content, media_type="application/octet-stream", headers=headers)


def _add_pictures(app: FastAPI, library: Library) -> None:
    @app.get("/photograph")
    def photograph(request: Request, id: str, rev: Rev = WORKSPACE, side: Side = None) -> Response:
        """The image itself, as JPEG."""
        catalogue = _of(library, rev, id)
        return _picture(request, "image/jpeg", lambda: library.photograph(catalogue, id, side))

    @app.get("/layer")
    def layer(
        request: Request,
        name: str,
        id: str,
        rev: Rev = WORKSPACE,
        side: Side = None,
        category: int | None = None,
        x: int | None = None,
        y: int | None = None,
    ) -> Response:
        """What a stage has made for an image, to lie over it, as PNG."""
        catalogue = _of(library, rev, id)
        drawn_layer = catalogue.layer(name)
        pixel = None if x is None or y is None else (x, y)
        return _picture(
            request,
            "image/png",
            lambda: library.layer(catalogue, drawn_layer, id, side, category, pixel),
        )

    @app.get("/difference")
    def difference(
        request: Request, layer: str, id: str, first: Rev, second: Rev, side: Side = None
    ) -> Response:
        """The pixels that differ between two revisions, as PNG."""
        paths = _comparison(library, first, second, layer).paths(id)
        return _picture(
            request, "image/png", lambda: encode_png(drawing.changed_pixels(*paths, side=side))
        )


def _picture(request: Request, media_type: str, make: Callable[[], bytes]) -> Response:
    """A picture, or the news that the browser's own is still right."""
    try:
        content = make()
    except MissingObject as error:
        return Response(str(error), 404, headers={"Cache-Control": "no-store"})
    etag = f'"{blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
    if "v" in request.query_params:  # the address changes with the bytes
        headers["Cache-Control"] = "private, max-age=31536000, immutable"
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=media_type, headers=headers)


def _add_streams(app: FastAPI, library: Library) -> None:
    known: dict[tuple[Path, Path, Path | None], dict[str, Any]] = {}

    @app.get("/compare/scores")
    def scores(layer: str, first: Rev, second: Rev) -> StreamingResponse:
        """One line of JSON per image that differs, as they are measured."""
        comparison = _comparison(library, first, second, layer)

        def measure(image_id: str) -> dict[str, Any]:
            try:
                paths = comparison.paths(image_id)
                if paths not in known:
                    difference = comparison.difference(image_id)
                    known[paths] = asdict(difference) | {"gain": difference.gain}
                return known[paths]
            except (InputError, MissingObject) as error:
                return {"image_id": image_id, "error": str(error)}

        return _stream(measure, comparison.changes.changed)

    @app.get("/review/doubts")
    def doubts(rev: Rev = WORKSPACE) -> StreamingResponse:
        """One line of JSON per image with final labels: why to doubt them."""
        catalogue = library.catalogue(rev)

        def measure(image_id: str) -> dict[str, Any]:
            try:
                return doubted_image(catalogue, image_id)
            except (InputError, MissingObject) as error:
                return {"image_id": image_id, "error": str(error)}

        return _stream(measure, tuple(final_layer(catalogue).files))


def _stream(
    measure: Callable[[str], Mapping[str, Any]], image_ids: tuple[str, ...]
) -> StreamingResponse:
    """Lines of JSON; the work ends when nobody listens any more."""
    stopped = threading.Event()

    def one(image_id: str) -> Mapping[str, Any] | None:
        return None if stopped.is_set() else measure(image_id)

    def lines() -> Iterator[str]:
        with ThreadPoolExecutor(2) as pool:
            try:
                for row in pool.map(one, image_ids):
                    yield json.dumps(row) + "\n"
            finally:
                stopped.set()

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _of(library: Library, rev: str, image_id: str) -> Catalogue:
    """The catalogue of a revision that has the image."""
    catalogue = library.catalogue(rev)
    if image_id not in catalogue.images:
        raise HTTPException(404)
    return catalogue


def _comparison(library: Library, first: str, second: str, layer: str) -> Comparison:
    return Comparison(library.catalogue(first), library.catalogue(second), layer)
