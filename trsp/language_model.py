"""One model, pruned from Python: an object with a model, its tokenizer and what was removed.

It knows no grid, store or cluster. Everything it does is a call or two of the modules it imports,
which are as public.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import ValidationError
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from trsp.architecture.decoders import decoder_layers
from trsp.architecture.families import check_layers, needs_bos
from trsp.architecture.limits import check_tokens
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
    Settings,
    TextSource,
)
from trsp.data.blocks import calibration_blocks, evaluation_windows
from trsp.errors import InvalidInputError
from trsp.evaluation.evaluate import perplexity, windows_nll
from trsp.progress_lines import showing
from trsp.records import CheckpointRecord, Score, TransferRecord
from trsp.selection import rank_layers
from trsp.surgery import remove_layers_verified
from trsp.training.progress import Progress
from trsp.transfer import transfer

SettingsT = TypeVar("SettingsT", bound=Settings)
Text = TextSource | str | Path  # a path stands for the local file there


class LanguageModel:
    """A causal LM of a known family with its tokenizer; both are plain transformers objects.

    The model is put in eval mode, which all calls need. Layers are named by their 0-based index in
    the original model, also once some are removed.
    Blocks are token ids, [N, T]. A call that takes longer than 10 s says on stderr how far it is.
    ``source`` (a folder or hub id) and ``revision`` are where the model came from, for its card.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        source: str,
        revision: str | None = None,
    ) -> None:
        # In training mode dropout would make any two passes differ.
        self.model, self.tokenizer = model.eval(), tokenizer
        self.source, self.revision = source, revision
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
        settings = _checked(
            CalibrationSettings,
            {"blocks": "count", "block_tokens": "tokens"},
            {"text": _source(text), "preset": preset, "blocks": count, "block_tokens": tokens},
        )
        needed = needs_bos(self.model.config.to_dict())
        return calibration_blocks(self.tokenizer, settings, seed, needs_bos=needed)

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
        on where it was killed (docs/snapshots.md). InvalidInputError: fewer layers may go, or an
        argument is not what it must be. TrainingDivergedError: see ``rank_layers``.
        """
        left = self.layers
        with showing("rank"):
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
            return [left[record.layer] for record in rounds]

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
        drift (docs/method.md, section 2). ``progress``: see ``rank``. Errors are those of
        ``trsp.transfer.transfer``.
        """
        positions, settings = self._positions(layers), settings or DriftSettings()
        with showing("transfer"):
            record = transfer(self.model, positions, blocks_NT, settings, drift, engine, progress)
        return record.model_copy(update={"layers": tuple(layers)})

    def remove(self, layers: Sequence[int]) -> None:
        """Delete ``layers`` for good, and prove on random tokens that this equals bypassing them.

        It may be done again, for some of those that are left. InvalidInputError: there is no such
        layer, it is gone already, or none would stay.
        """
        remove_layers_verified(self.model, self._positions(layers))
        self.removed = tuple(sorted((*self.removed, *layers)))

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are left, in the model's order."""
        count = len(decoder_layers(self.model)) + len(self.removed)
        return tuple(layer for layer in range(count) if layer not in self.removed)

    def _positions(self, layers: Sequence[int]) -> list[int]:
        """Return where ``layers`` stand in the model as it is now.

        InvalidInputError: there is no such layer, or it is gone already.
        """
        left = self.layers
        if gone := sorted(set(layers) & set(self.removed)):
            raise InvalidInputError(f"layers {gone} are gone already; left are {list(left)}")
        check_layers(layers, len(left) + len(self.removed))
        return [left.index(layer) for layer in layers]

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
        InvalidInputError: the text or the windows are not for this model to read.
        """
        sizes = {"window_tokens": window_tokens, "max_windows": max_windows}
        settings = _checked(PerplexitySettings, {}, {"text": _source(text), "bos": bos, **sizes})
        config = self.model.config.to_dict()
        windows_NT = evaluation_windows(self.tokenizer, settings, needs_bos=needs_bos(config))
        check_tokens(config, windows_NT, "an evaluation window")
        with showing("perplexity"):
            return perplexity(windows_nll(self.model, windows_NT))

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
            layers=len(self.layers) + len(self.removed),
            removed_layers=self.removed,
            settings=settings,
        )


def _source(text: Text) -> TextSource:
    return text if isinstance(text, TextSource) else TextSource(name="text", path=str(text))


def _checked(
    settings: type[SettingsT], names: Mapping[str, str], values: Mapping[str, Any]
) -> SettingsT:
    """Return the settings of these values; ``names``: what the caller knows fields by.

    InvalidInputError, with the first that is wrong.
    """
    try:
        return settings.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = str(first["loc"][0]) if first["loc"] else ""
        raise InvalidInputError(
            f"{names.get(field, field)}: {first['msg']}; {first['input']!r} came"
        ) from None
