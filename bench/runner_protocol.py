"""How a Python side of `bench` talks: one JSON command a line on stdin, one JSON answer a line on stdout.

An answer is {"ok": true, …} or {"ok": false, "error": sentence}. Everything else that is printed goes to stderr. Imported
before anything heavy, since whatever writes to stdout, native code included, must not break the protocol.
"""
import importlib.util
import json
import os
import resource
import sys
import traceback

ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)


class Unusable(Exception):
    """The checkout or the Python environment lacks something; the message says what, and what to do."""


def demand_packages(packages):
    """`packages`: module → what pip installs. Names everything that is missing at once, before anything heavy is imported."""
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    if lacking:
        raise Unusable(f"{sys.executable} lacks the Python package{'s' if len(lacking) > 1 else ''} "
                       f"{', '.join(lacking)}; run: {pip_install(packages, *lacking)}")


def pip_install(packages, *names):
    return f"{sys.executable} -m pip install {' '.join(packages[name] for name in names)}"


def host_peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def normalized(torch, images):
    """Decoded images (N, S, S, 3) of a .safetensors file as the model takes them, (N, 3, S, S)."""
    from safetensors.torch import load_file
    pixels = load_file(images)["images"].permute(0, 3, 1, 2).to(torch.float32) / 255
    mean, std = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    return (pixels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)


def answer(value):
    ANSWERS.write(json.dumps(value) + "\n")


def serve(make_runner):
    """Makes the runner, says hello, and calls the runner's method of every command's name until the input ends."""
    try:
        runner = make_runner()
    except Unusable as error:
        return answer({"ok": False, "error": str(error)})
    answer({"ok": True, **runner.hello()})
    for line in sys.stdin:
        command = json.loads(line)
        op = command.pop("op")
        try:
            answer({"ok": True, **getattr(runner, op)(**command)})
        except Unusable as error:
            answer({"ok": False, "error": str(error)})
        except Exception as error:  # reported to Node, which decides
            traceback.print_exc()
            answer({"ok": False, "error": f"{type(error).__name__}: {error}"})
