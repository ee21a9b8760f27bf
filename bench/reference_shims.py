"""Lets an untouched checkout of salesforce/BLIP be imported with today's libraries; nothing on disk is changed.

What is replaced at run time, and why:
  - the tokenizer's files come from a local vocab.txt, so that nothing is fetched;
  - `ruamel_yaml`, `pycocotools`, `pycocoevalcap` (and `cv2` where it is absent) become empty modules: the evaluation
    imports them, but never calls them;
  - paths such as configs/med_config.json are taken from the checkout, whatever the working folder is;
  - `vit: tiny` (96 pixels; 3 layers, width 64) is known too, so that a trial takes seconds;
  - on a GPU, a tensor in host memory takes indices that lie on the device, as it did in torch 1.10.
"""
import importlib.util
import os
import sys
import types

from runner_protocol import Unusable, demand_packages, pip_install

PACKAGES = {  # module: what pip installs
    "torch": "torch==2.11.0",
    "torchvision": "torchvision",
    "numpy": "'numpy<2'",
    "PIL": "Pillow",
    "transformers": "transformers==4.26.1",
    "timm": "timm==0.4.12",
    "fairscale": "fairscale",
    "safetensors": "safetensors",
}
FILES = (
    "train_retrieval.py",
    "utils.py",
    "configs/med_config.json",
    "data/__init__.py",
    "data/utils.py",
    "models/blip.py",
    "models/blip_retrieval.py",
    "models/med.py",
    "models/vit.py",
    "transform/randaugment.py",
)
TINY_VIT = {"embed_dim": 64, "depth": 3, "num_heads": 4}
TINY_TEXT = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4}


def check(checkout, vocab):
    """Names everything that is missing at once, before anything heavy is imported."""
    lost = [name for name in FILES if not os.path.isfile(os.path.join(checkout, name))]
    if lost:
        raise Unusable(f"{checkout} is not a complete checkout of salesforce/BLIP: {', '.join(lost)} missing; "
                       "clone https://github.com/salesforce/BLIP and give its folder to --reference")
    if not os.path.isfile(vocab):
        raise Unusable(f"the vocabulary file {vocab} of bert-base-uncased is missing")
    demand_packages(PACKAGES)
    from importlib.metadata import version
    for package, wanted in (("transformers", "4.26."), ("timm", "0.4.")):
        if not version(package).startswith(wanted):
            raise Unusable(f"{sys.executable} has {package} {version(package)}, with which BLIP does not run; "
                           f"run: {pip_install(PACKAGES, package)}")


def _empty(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def install(checkout, vocab):
    """After this, `import train_retrieval` gives the checkout's own module."""
    check(checkout, vocab)
    sys.dont_write_bytecode = True  # the checkout stays as it is
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _empty("ruamel_yaml")
    _empty("pycocotools")
    _empty("pycocotools.coco", COCO=None)
    _empty("pycocoevalcap")
    _empty("pycocoevalcap.eval", COCOEvalCap=None)
    if importlib.util.find_spec("cv2") is None:
        _empty("cv2")
    sys.path.insert(0, checkout)

    import transformers

    def local_tokenizer(cls, *_args, **_options):
        return cls(vocab, do_lower_case=True)

    transformers.BertTokenizer.from_pretrained = classmethod(local_tokenizer)
    return _with_tiny(checkout)


def _with_tiny(checkout):
    from models import blip, blip_retrieval, vit

    published = blip.create_vit
    size = {"vit": "base"}  # the last model asked for: decides the text encoder built after it

    def create_vit(name, image_size, use_grad_checkpointing=False, ckpt_layer=0, drop_path_rate=0):
        size["vit"] = name
        if name != "tiny":
            return published(name, image_size, use_grad_checkpointing, ckpt_layer, drop_path_rate)
        encoder = vit.VisionTransformer(img_size=image_size, patch_size=16, use_grad_checkpointing=use_grad_checkpointing,
                                        ckpt_layer=ckpt_layer, **TINY_VIT)
        return encoder, TINY_VIT["embed_dim"]

    read = blip_retrieval.BertConfig.from_json_file

    def from_json_file(_cls, path):
        config = read(os.path.join(checkout, path))
        config.update(TINY_TEXT if size["vit"] == "tiny" else {})
        return config

    blip.create_vit = blip_retrieval.create_vit = create_vit
    blip_retrieval.BertConfig.from_json_file = classmethod(from_json_file)
    return blip_retrieval


def allow_device_indices():
    import torch

    take = torch.Tensor.__getitem__

    def getitem(self, index):
        if isinstance(index, torch.Tensor) and index.is_cuda and not self.is_cuda:
            index = index.cpu()
        return take(self, index)

    torch.Tensor.__getitem__ = getitem
