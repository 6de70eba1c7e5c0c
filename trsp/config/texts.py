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
        pattern=r"^[A-Za-z0-9_-]+$",
        description="short name; the text's metric is perplexity/NAME",
        examples=["wiki"],
    )
    path: str | None = Field(
        None,
        description="local file: .jsonl, .parquet, or .txt (documents parted by blank lines); "
        "this or dataset; default: none",
        examples=["/data/wiki-train.jsonl"],
    )
    dataset: str | None = Field(
        None,
        description="data set on the hub; this or path; default: none",
        examples=["Salesforce/wikitext"],
    )
    config: str | None = Field(
        None,
        description="configuration of the data set on the hub; default: its only one",
        examples=["wikitext-2-raw-v1"],
    )
    split: str = Field(
        "train",
        description="split of the data set on the hub; score on one that is not trained on",
        examples=["test"],
    )
    revision: str = Field(
        "main",
        description="branch, tag or commit of the data set on the hub; a commit where a study "
        "must not move",
        examples=["v1.0"],
    )
    field: str = Field(
        "text",
        description="column of .jsonl, .parquet or the data set that holds the text",
        examples=["content"],
    )
    document_start: str | None = Field(
        None,
        description="regular expression of a row that begins a document, where rows are lines of "
        "one, as in WikiText; default: each row is a document",
        examples=["^ = [^=]"],
    )
    max_documents: PositiveInt | None = Field(
        None,
        description="read only the first so many documents, streamed from the hub; default: all",
        examples=[2000],
    )
    skip_documents: Annotated[PositiveInt | None, LaterSetting()] = Field(
        None,
        description="leave out the first so many documents: so one file serves calibration, which "
        "reads as many (max_documents), and evaluation, which reads none of these; default: "
        "none",
        examples=[2000],
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
        "default",
        description="paper: the published loaders' blocks, which is cut: stream and bos: once",
        examples=["paper"],
    )
    text: TextSource = Field(
        description="what both stages train on and every data-driven selector reads",
        examples=[{"name": "wiki", "path": "/data/wiki-train.jsonl"}],
    )
    blocks: PositiveInt = Field(
        128,
        description="how many blocks are cut from the text: the data of a pass. A text that does "
        "not fill them is refused",
        examples=[32],
    )
    block_tokens: Annotated[int, Field(ge=8)] = Field(
        2048,
        description="tokens per block; less where the model's context or the memory is small",
        examples=[512],
    )
    cut: Literal["documents", "stream"] = Field(
        "documents",
        description="documents: shuffled by the seed, joined, cut one block after the other; "
        "stream: blocks at random places of the whole text, in its order",
        examples=["stream"],
    )
    bos: BosPolicy = Field(
        "auto",
        description="token that begins a sequence (BOS), at the start of every block: always, "
        "never, auto (where the tokenizer adds one itself), or once: as auto, but at the start "
        "of the whole text only",
        examples=["never"],
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("preset") == "paper":
            return {**PAPER_CALIBRATION, **data}
        return data


PAPER_CALIBRATION: dict[str, Any] = {"cut": "stream", "bos": "once"}
