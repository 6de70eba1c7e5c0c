"""The items of an evaluation: one per text and one per benchmark task, each under a key of its own.

So an evaluation of other texts or tasks of the same model computes only what is new in it. Pure;
knows no store.
"""

from orchestrator.stages.stage_specs import StageKind, StageSpec


def score_items(spec: StageSpec) -> dict[str, StageSpec]:
    """Return the items of a stage of kind ``evaluate`` or ``dense``, by name.

    The names are those of ``trsp.evaluation.items.item_names``; a text's is no part of its key. An
    item knows the checkpoint that the stage reads, or the unpruned model.
    """
    evaluation = spec.inputs["evaluation"]
    benchmarks = evaluation["benchmarks"]
    items = {
        f"perplexity/{text['name']}": {
            "perplexity": {name: value for name, value in text.items() if name != "name"}
        }
        for text in evaluation["perplexity"]
    }
    for task, fingerprint in benchmarks["tasks"].items() if benchmarks else ():
        settings = {name: value for name, value in benchmarks.items() if name != "tasks"}
        items[task] = {"task": {"name": task, "content": fingerprint, **settings}}
    shared = {"model": spec.inputs.get("model"), "precision": spec.inputs["precision"]}
    return {
        name: StageSpec(StageKind.SCORE, {**item, **shared}, reads=spec.reads)
        for name, item in items.items()
    }
