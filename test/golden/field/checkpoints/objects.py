"""Writes objects_2.pth, objects_4.pth and objects_legacy.pth: a model, and beside it one object of every kind that training
scripts leave in checkpoints. Written with Python 3.11.7, torch 2.11.0, numpy 1.26.4: python objects.py FOLDER"""
import argparse, array, collections, dataclasses, datetime, decimal, enum, fractions, functools, ipaddress, logging
import pathlib, random, re, sys, types, uuid, zoneinfo
import numpy as np
import torch


class Split(enum.Enum):
    TRAIN = 1


class Flags(enum.Flag):
    A = 1
    B = 2


@dataclasses.dataclass
class Config:
    lr: float = 1.0


class EasyDict(dict):
    pass


class Names(list):
    pass


class Slots:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class NewArgs:
    def __new__(cls, *args, k=1):
        return object.__new__(cls)

    def __getnewargs_ex__(self):
        return (1,), {"k": 2}


class Outer:
    class Inner:
        pass

    def method(self):
        pass


Point = collections.namedtuple("Point", "x y")
path = pathlib.PosixPath("/a/b")
nn, optim = torch.nn, torch.optim
adamw = optim.AdamW(nn.Linear(2, 2).parameters())
objects = {
    "path": path, "date": datetime.date(2020, 1, 2), "time": datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc),
    "delta": datetime.timedelta(1), "enum": Split.TRAIN, "flag": Flags.A | Flags.B, "dataclass": Config(),
    "easydict": EasyDict(lr=1), "names": Names([1, 2]), "slots": Slots(), "newargs": NewArgs(), "inner": Outer.Inner(),
    "class": Outer.Inner, "method": Outer().method, "point": Point(1, 2), "simple": types.SimpleNamespace(a=1),
    "array": np.arange(6.0).reshape(2, 3), "big_endian": np.arange(3, dtype=">i4"), "object_array": np.array([1, "a", None], object),
    "texts": np.array(["a", "bb"]), "record": np.zeros(2, dtype=[("a", "f4"), ("b", "i8")]), "masked": np.ma.array([1], mask=[0]),
    "half": np.float16(0.5), "complex": np.complex64(1), "date64": np.datetime64("2020-01-01"), "str": np.str_("a"),
    "dtype": np.dtype("f4"), "scalar_type": np.float32, "numpy_state": np.random.get_state(), "generator": np.random.default_rng(1),
    "ufunc": np.add, "python_random": random.Random(1), "device": torch.device("cpu"), "torch_dtype": torch.float32,
    "float8": torch.float8_e4m3fn, "layout": torch.strided, "partial": functools.partial(nn.functional.gelu, approximate="tanh"),
    "function": nn.functional.relu, "linear": nn.Linear(2, 2), "optimizer": adamw, "optimizer_class": optim.AdamW,
    "scheduler": optim.lr_scheduler.CosineAnnealingLR(adamw, 3), "tensor_class": torch.ones(2).as_subclass(type("T", (torch.Tensor,), {"__module__": "__main__"})),
    "deque": collections.deque([1], 3), "decimal": decimal.Decimal("1.5"), "fraction": fractions.Fraction(1, 3),
    "uuid": uuid.UUID(int=1), "logger": logging.getLogger("x"), "regex": re.compile("a"), "ip": ipaddress.ip_address("1.2.3.4"),
    "zone": zoneinfo.ZoneInfo("UTC"), "buffer": array.array("f", [1, 2]), "slice": slice(1, 2), "error": ValueError("x"),
    "ellipsis": ..., "namespace": argparse.Namespace(lr=0.5, path=path), "keys": {path: 1, pathlib.PosixPath("b"): 2, (Split.TRAIN, 1): 3},
    "double": np.float64(0.5), "version": torch.__version__, "size": torch.Size([1, 2]), "python_state": random.getstate()[:1],
}
T = objects["tensor_class"].__class__
sys.modules["__main__"].T = T

if __name__ == "__main__":
    model = {"itm_head.weight": torch.ones(2, 64), "itm_head.bias": torch.zeros(2)}
    for name, options in {
        "2": {}, "4": {"pickle_protocol": 4}, "legacy": {"_use_new_zipfile_serialization": False},
    }.items():
        torch.save({"model": model, "objects": objects}, f"{sys.argv[1]}/objects_{name}.pth", **options)
