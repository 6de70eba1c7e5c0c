import torch
from tests.trsp.spawn_ranks import on_ranks
import tests.trsp.engine.test_gradient_sums as t
from tests.tiny import tiny_model
from trsp.engine.engine import Engine
from trsp.engine.optimizer_config import OptimizerConfig
from trsp.engine.state_pieces import adam_state, pieces
def share(way):
    model = tiny_model("llama", layers=1, dtype=torch.bfloat16)
    with Engine(model, t.WAYS[way].model_copy(update={"micro_batch": 1}), 96, OptimizerConfig(1e-3, steps=1, max_grad_norm=1e6)) as engine:
        engine.step(t.BLOCKS)
        return [(p.name,p.offset,p.of(adam_state(engine._engine, p.holder)["exp_avg"]).clone()/0.1) for g in pieces(engine._engine) for p in g]
if __name__=="__main__":
    w=t.summed_in_fp32()
    for way in ("zero 0","zero 1","zero 2","zero 3"):
        num=den=0.
        for part in on_ranks(2, share, way):
            for name,off,v in part:
                ref=w[name].flatten()[off:off+v.numel()]
                num+=(v-ref).norm().item()**2; den+=ref.norm().item()**2
        print(way,"2 ranks",(num/den)**.5,flush=True)
