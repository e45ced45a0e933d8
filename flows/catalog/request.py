"""The request of a catalog run, as a caller writes it."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flows.requests.any_text import AnyPath, AnyText
from flows.requests.checks import check_device, check_device_name, check_store
from storage.errors import StoreAddressError
from storage.store import Store, check_address, open_store


def _absolute(store: object) -> str:
    """Make a folder absolute, so that it does not depend on a worker's directory; a bucket is unchanged."""
    try:
        check_address(str(store))
    except StoreAddressError as error:
        raise ValueError(str(error)) from error
    return str(store) if str(store).startswith("s3://") else str(Path(str(store)).absolute())


class CatalogRequest(BaseModel):
    """A catalog and the settings of its run."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=True)

    catalog: AnyPath = Field(examples=["/clips/nightly.yaml"])  # absolute, for a worker to find it
    store: Annotated[AnyText, BeforeValidator(_absolute)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: AnyPath | None = None
    device: str = "auto"
    clips_at_once: int = Field(default=2, ge=1)  # child runs in progress
    slots: int = Field(default=1, ge=1)  # stages on the device at once, over all runs on this machine
    time_limit_s: float | None = Field(default=None, gt=0)  # of one clip, without queueing; then its run is stopped
    attempts: int = Field(default=2, ge=1)  # of a clip whose run crashes; a failed clip is not retried
    deployment: str | None = Field(
        default=None, pattern=r"^[^/]+/[^/]+$", examples=["edit-video/on-demand"]
    )  # run on its workers; without it, in local processes
    tags: list[str] = []  # only clips with one of these; all if empty

    def open_store(self) -> Store:
        return open_store(self.store, self.scratch)


def check_catalog_request(request: CatalogRequest) -> None:
    """Check the settings of a run before the catalog is read; `open_catalog` checks its entries.

    Raises:
        InputError: the device is not on this machine, or the store cannot be used.
    """
    if request.deployment:  # the device is on its workers
        check_device_name(request.device)
    else:
        check_device(request.device)
    check_store(request.store, request.scratch)
