"""Labels: what tells the methods of a grid apart."""

from orchestrator.grid.labels import method_labels
from trsp.config import BlockInfluenceSettings, DriftSettings, GatesSettings, LoraSettings


def test_labels_tell_methods_of_one_name_apart_and_say_no_more() -> None:
    paper = GatesSettings.model_validate({"preset": "paper"})
    assert method_labels([GatesSettings(), BlockInfluenceSettings()]) == [
        "gates",
        "block_influence",
    ]
    assert method_labels([GatesSettings(), paper])[1] == "gates(paper)"
    assert method_labels([DriftSettings(steps=3), DriftSettings(steps=5)]) == [
        "drift(steps=3)",
        "drift(steps=5)",
    ]
    adapters = LoraSettings(rank=4)
    assert method_labels([DriftSettings(), DriftSettings(lora=adapters)]) == [
        "drift",
        "drift(lora(rank=4))",
    ]
    assert method_labels([DriftSettings(), DriftSettings(lora=LoraSettings())])[1] == "drift(lora)"
    published = [DriftSettings(preset="paper", lora=lora) for lora in (None, adapters)]
    assert method_labels([DriftSettings(), *published]) == [
        "drift",
        "drift(paper)",
        "drift(paper,lora(rank=4))",
    ]
