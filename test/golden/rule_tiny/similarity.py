"""Writes similarity.json: the matrix of similarities that the reference's own `evaluation` makes of the test split of data/,
and the recalls that its `itm_eval` gives when that matrix alone ranks.

    python similarity.py BLIP_CHECKOUT VOCAB_TXT

Written with Python 3.11, torch 2.11.0, transformers 4.26.1, timm 0.4.12, Pillow 13.0.0, float32, CPU. The matrix is a local
variable of the reference, read when its function returns: nothing of it is changed. Weights are those of the rule (scale
0.15), as ruleWeights of test/helpers makes them.
"""
import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "..", "bench"))
import reference_shims  # noqa: E402

checkout, vocab = sys.argv[1:]
blip_retrieval = reference_shims.install(checkout, vocab)

import torch  # noqa: E402
import train_retrieval  # noqa: E402
from data import coco_karpathy_dataset  # noqa: E402
from torchvision import transforms  # noqa: E402
from torchvision.transforms.functional import InterpolationMode  # noqa: E402


def rule_state_dict(entries, scale):
    state = {}
    for k, (name, shape) in enumerate(entries):
        torch.manual_seed(k)
        noise = torch.randn(shape)
        twin = name.replace("encoder_m.", "encoder.").replace("proj_m.", "proj.")
        if twin != name and twin in state:
            state[name] = state[twin].clone()
        elif name.endswith("position_ids"):
            state[name] = torch.arange(shape[-1]).expand(shape).clone()
        elif name == "ptr_queue":
            state[name] = torch.zeros(shape, dtype=torch.long)
        elif name == "idx_queue":
            state[name] = torch.full(shape, -100)
        elif name == "temp":
            state[name] = torch.tensor(0.07)
        elif name in ("image_queue", "text_queue"):
            state[name] = torch.nn.functional.normalize(noise, dim=0)
        elif "norm" in name.lower() and name.endswith("weight"):
            state[name] = 1 + 0.1 * noise
        elif name.endswith("bias"):
            state[name] = 0.02 * noise
        else:
            state[name] = scale * noise
    return state


def locals_at_return(function, *args):
    """What `function` returns, and its local variables when it does."""
    seen = {}

    def profile(frame, event, _argument):
        if event == "return" and frame.f_code is code:
            seen.update(frame.f_locals)

    code = function.__wrapped__.__code__ if hasattr(function, "__wrapped__") else function.__code__
    sys.setprofile(profile)
    try:
        return function(*args), seen
    finally:
        sys.setprofile(None)


model = blip_retrieval.BLIP_Retrieval(image_size=96, vit="tiny", queue_size=64)
with open(os.path.join(HERE, "tiny_state_dict.json")) as file:
    entries = [(entry["name"], entry["shape"]) for entry in json.load(file)]
model.load_state_dict(rule_state_dict(entries, 0.15))

normalize = transforms.Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
transform = transforms.Compose([transforms.Resize((96, 96), interpolation=InterpolationMode.BICUBIC),
                                transforms.ToTensor(), normalize])
coco_karpathy_dataset.download_url = lambda *_: None  # the annotations are there
dataset = coco_karpathy_dataset.coco_karpathy_retrieval_eval(
    transform, os.path.join(HERE, "data", "images"), os.path.join(HERE, "data", "annotation"), "test")
loader = torch.utils.data.DataLoader(dataset, batch_size=8)
train_retrieval.args = argparse.Namespace(distributed=False)
_, seen = locals_at_return(train_retrieval.evaluation, model, loader, torch.device("cpu"), {"k_test": 8})
by_text = seen["sims_matrix"].contiguous()  # (texts, images): the reference has turned it for its second half
by_image = by_text.t().contiguous()
recalls = train_retrieval.itm_eval(by_image.numpy(), by_text.numpy(), dataset.txt2img, dataset.img2txt)
with open(os.path.join(HERE, "similarity.json"), "w") as file:
    json.dump({"metrics": recalls, "similarity": [[round(value, 7) for value in row] for row in by_image.tolist()]}, file)
    file.write("\n")
print(recalls)
