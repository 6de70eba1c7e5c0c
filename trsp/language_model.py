"""One model, pruned from Python: an object with a model, its tokenizer and what was removed.

It knows no grid, store or cluster. Everything it does is a call or two of the modules it imports,
which are as public.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Self

from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trsp.architecture.decoders import decoder_layers
from trsp.checkpoints.checkpoint import load_model, load_tokenizer, save_checkpoint
from trsp.checkpoints.model_card import model_card
from trsp.config import (
    BosPolicy,
    CalibrationSettings,
    DriftSettings,
    EngineSettings,
    GatesSettings,
    HealSettings,
    NoTransfer,
    PerplexitySettings,
    Precision,
    Selector,
    TextSource,
)
from trsp.data.blocks import calibration_blocks, evaluation_windows
from trsp.errors import InvalidInputError
from trsp.evaluation.evaluate import perplexity, windows_nll
from trsp.records import CheckpointRecord, Score, TransferRecord
from trsp.selection import rank_layers
from trsp.surgery import remove_layers_verified
from trsp.training.progress import Progress
from trsp.transfer import transfer

Text = TextSource | str | Path  # a path stands for the local file there


class LanguageModel:
    """A causal LM of a known family with its tokenizer; both are plain transformers objects.

    Layers are named by their 0-based index in the original model. Blocks are token ids, [N, T].
    ``source`` (a folder or hub id) and ``revision`` are where the model came from, for its card.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        source: str,
        revision: str | None = None,
    ) -> None:
        self.model, self.tokenizer, self.source, self.revision = model, tokenizer, source, revision
        self.removed: tuple[int, ...] = ()

    @classmethod
    def load(cls, source: str, revision: str | None = None, precision: Precision = "auto") -> Self:
        """Return the model in the folder, or of the hub id, ``source``.

        It lies on the accelerator where there is one. InvalidInputError: see ``load_model``.
        """
        model = load_model(source, revision, precision)
        return cls(model, load_tokenizer(source, revision), source, revision)

    def blocks(
        self,
        text: Text,
        count: int = 128,
        tokens: int = 2048,
        seed: int = 0,
        *,
        preset: Literal["default", "paper"] = "default",
    ) -> Tensor:
        """Return calibration blocks [count, tokens] of the text's documents, shuffled by ``seed``.

        The default size is the published one; ``preset="paper"`` cuts the text as published, too
        (docs/method.md, section 3). CalibrationTooShortError: the text fills fewer.
        """
        size = {"blocks": count, "block_tokens": tokens}
        settings = CalibrationSettings.model_validate(
            {"text": _source(text), "preset": preset, **size}
        )
        return calibration_blocks(self.tokenizer, settings, seed)

    def rank(
        self,
        blocks_NT: Tensor | None,
        count: int,
        selector: Selector | None = None,
        *,
        gate_l1: float = 5e-3,
        seed: int = 0,
        engine: EngineSettings | None = None,
        progress: Progress | None = None,
    ) -> list[int]:
        """Stage one: return the ``count`` layers that may go, the first to go first.

        The default selector is TRSP's learned gates, at ``gate_l1`` = lambda_1; only those that
        read no text take None for blocks. ``progress`` keeps snapshots, so that the same call goes
        on where it was killed (docs/snapshots.md). InvalidInputError: fewer layers may go.
        """
        rounds = rank_layers(
            self.model,
            blocks_NT,
            selector or GatesSettings(),
            depth=count,
            gate_l1=gate_l1,
            seed=seed,
            engine=engine,
            progress=progress,
        )
        return [record.layer for record in rounds]

    def transfer(
        self,
        layers: Sequence[int],
        blocks_NT: Tensor,
        settings: NoTransfer | DriftSettings | HealSettings | None = None,
        *,
        drift: float | None = None,
        engine: EngineSettings | None = None,
        progress: Progress | None = None,
    ) -> TransferRecord:
        """Stage two, in place: train so that ``layers`` can go; return losses and drifts per step.

        The default is TRSP's drift. ``drift`` is lambda_2, by default that of the scale of the
        drift (docs/method.md, section 2). ``progress``: see ``rank``.
        """
        return transfer(
            self.model, layers, blocks_NT, settings or DriftSettings(), drift, engine, progress
        )

    def remove(self, layers: Sequence[int]) -> None:
        """Delete ``layers`` for good, and prove on random tokens that this equals bypassing them.

        Once per model: InvalidInputError for a second call.
        """
        if self.removed:
            raise InvalidInputError(
                f"layers {list(self.removed)} are gone already; "
                "remove all in one call, or load again"
            )
        remove_layers_verified(self.model, layers)
        self.removed = tuple(sorted(layers))

    def perplexity(
        self,
        text: Text,
        window_tokens: int = 2048,
        max_windows: int | None = None,
        *,
        bos: BosPolicy = "auto",
    ) -> Score:
        """Return the perplexity over fixed, non-overlapping windows, with its standard error.

        Published perplexities have ``bos="once"``: no window but the first is opened by BOS.
        """
        settings = PerplexitySettings(
            text=_source(text), window_tokens=window_tokens, max_windows=max_windows, bos=bos
        )
        return perplexity(windows_nll(self.model, evaluation_windows(self.tokenizer, settings)))

    def save(
        self, folder: str | Path, settings: dict[str, object] | None = None
    ) -> CheckpointRecord:
        """Write safetensors, config, tokenizer and a model card; return the checkpoint's size.

        The card names the removed layers and ``settings``.
        """
        folder = Path(folder)
        card = self._card(folder.name, settings or {})
        return save_checkpoint(
            self.model, self.tokenizer, folder, card=card, removed_layers=self.removed
        )

    def _card(self, name: str, settings: dict[str, object]) -> str:
        return model_card(
            name=name,
            source=self.source,
            revision=self.revision,
            layers=len(decoder_layers(self.model)) + len(self.removed),
            removed_layers=self.removed,
            settings=settings,
        )


def _source(text: Text) -> TextSource:
    return text if isinstance(text, TextSource) else TextSource(name="text", path=str(text))
