"""What a caller asks of a catalog's run."""

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from flows.requests.any_text import AnyPath, AnyText
from flows.requests.checks import check_device, check_device_name, check_store
from storage.errors import StoreAddressError
from storage.store import Store, check_address, open_store


def _absolute(store: object) -> str:
    """A folder wherever a worker runs; a bucket as it is."""
    try:
        check_address(str(store))
    except StoreAddressError as error:
        raise ValueError(str(error)) from error
    return str(store) if str(store).startswith("s3://") else str(Path(str(store)).absolute())


class CatalogRequest(BaseModel):
    """What a caller asks for."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, validate_default=True)

    catalog: AnyPath = Field(examples=["/clips/nightly.yaml"])  # absolute, if a worker is to find it
    store: Annotated[AnyText, BeforeValidator(_absolute)] = ".stitchedit"  # a folder, or s3://bucket/prefix
    scratch: AnyPath | None = None
    device: str = "auto"
    clips_at_once: int = Field(default=2, ge=1)  # runs under way
    slots: int = Field(default=1, ge=1)  # stages on the device at once, of all runs on this machine
    time_limit_s: float | None = Field(default=None, gt=0)  # for a clip; one that takes longer is stopped
    attempts: int = Field(default=2, ge=1)  # of a clip whose run crashed; a clip that fails is not tried again
    deployment: str | None = Field(
        default=None, pattern=r"^[^/]+/[^/]+$", examples=["edit-video/on-demand"]
    )  # its workers; else processes here
    tags: list[str] = []  # clips that have one of these; all unless given

    def open_store(self) -> Store:
        return open_store(self.store, self.scratch)


def check_catalog_request(request: CatalogRequest) -> None:
    """Check what holds for every clip, before a catalog is read. What its entries say, `open_catalog` checks.

    Raises:
        InputError: a device that the runs' machine does not have, or a store that cannot be.
    """
    if request.deployment:  # its workers have the device
        check_device_name(request.device)
    else:
        check_device(request.device)
    check_store(request.store, request.scratch)
