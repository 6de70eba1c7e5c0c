"""Settings of texts, and of the calibration blocks cut from one."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from trsp.config.settings import LaterSetting, Settings

BosPolicy = Literal["auto", "always", "never", "once"]


class TextSource(Settings):
    """Documents of a local file or of a hub dataset.

    ``path``: .jsonl, .parquet, or .txt with a blank line between documents.
    """

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]+$", description="short name, used in metric names: perplexity/NAME"
    )
    path: str | None = Field(
        None, description="local file: .jsonl, .parquet, or .txt (documents parted by blank lines)"
    )
    dataset: str | None = Field(None, description="hub dataset id, e.g. Salesforce/wikitext")
    config: str | None = Field(
        None, description="hub dataset configuration, e.g. wikitext-2-raw-v1"
    )
    split: str = "train"
    revision: str = "main"
    field: str = Field("text", description="column that holds the text")
    document_start: str | None = Field(
        None,
        description="pattern of a row that begins a document, where rows are lines of one; "
        "wikitext: '^ = [^=]'",
    )
    max_documents: PositiveInt | None = Field(
        None, description="read only the first so many documents (streams a hub dataset)"
    )
    skip_documents: Annotated[PositiveInt | None, LaterSetting()] = Field(
        None,
        description="leave out the first so many documents: so one file serves calibration, which "
        "reads as many (max_documents), and evaluation, which reads none of these",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.path is None) == (self.dataset is None):
            raise ValueError(f"text source {self.name!r}: give exactly one of 'path' and 'dataset'")
        return self


class CalibrationSettings(Settings):
    """Blocks that both stages and every data-driven selector read.

    See docs/method.md, section 3.
    """

    preset: Literal["default", "paper"] = Field(
        "default", description="'paper': the published loaders' blocks, cut: stream and bos: once"
    )
    text: TextSource
    blocks: PositiveInt = 128
    block_tokens: Annotated[int, Field(ge=8)] = 2048
    cut: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: shuffled by the seed, joined, cut one block after the other; "
        "stream: blocks at random places of the whole text, in its order",
    )
    bos: BosPolicy = Field(
        "auto",
        description="BOS at the start of every block; auto: when the tokenizer adds one itself; "
        "once: as auto, but of the whole text only",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") == "paper":
            return {**PAPER_CALIBRATION, **data}
        return data


PAPER_CALIBRATION: dict[str, Any] = {"cut": "stream", "bos": "once"}
