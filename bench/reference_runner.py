"""The reference's side of `bench`: runs salesforce/BLIP's own evaluation(), train() and data loader on command.

python reference_runner.py CHECKOUT VOCAB      one JSON command a line on stdin, one JSON answer a line on stdout

  {"op": "load", "checkpoint", "vit", "image_size", "queue_size", "device", "precision"}   blip_retrieval(pretrained=…)
  {"op": "rerank", "images", "captions", "k", "batch", "scores"}                           evaluation()
  {"op": "load_training", as load, "vit_ckpt_layer"}                                       the same, and AdamW
  {"op": "train", "images", "captions", "batch"}                                           train(), one epoch
  {"op": "open", "checkpoint"}                                                             torch.load(mmap=True)
  {"op": "overhead", "calls"}                                                              torch.add of small tensors
  {"op": "transform", "folder", "image_size"}                                              dataset[i] of the val split
  {"op": "epoch", "folder", "image_size", "batch", "workers"}                              its DataLoader, train split

It ends when its input does. `folder` has images and annotations in COCO's layout.

runner_protocol.py has the form of the answers. Everything that the reference prints goes to stderr.
evaluation() is called as it is. The end of its features and the start of its re-ranking are seen from outside: there it
calls MetricLogger.log_every.
"""
import argparse
import os
import resource
import sys
import time

from runner_protocol import Unusable, host_peak, normalized, serve  # first: it takes stdout away from everything else

import reference_shims


class Loader:
    """What evaluation() reads of a DataLoader: batches of (images, indices), and the data set's texts and images."""

    def __init__(self, images, texts, batch):
        self.dataset = argparse.Namespace(text=texts, image=list(range(len(images))))
        self.images, self.batch = images, batch

    def __iter__(self):
        for start in range(0, len(self.images), self.batch):
            yield self.images[start:start + self.batch], None


class Batches:
    """What train() reads of a DataLoader: full batches of (images, captions, numbers of the images)."""

    def __init__(self, images, texts, batch, asked):
        self.images, self.texts, self.batch, self.asked = images, texts, batch, asked

    def __len__(self):
        return len(self.images) // self.batch

    def __iter__(self):
        import torch
        for start in range(0, len(self) * self.batch, self.batch):
            self.asked()
            rows = slice(start, start + self.batch)
            yield self.images[rows], self.texts[rows], torch.arange(start, start + self.batch)


def cpu_with_children():
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


class Runner:
    def __init__(self, checkout, vocab):
        self.blip_retrieval = reference_shims.install(checkout, vocab)
        import torch
        import train_retrieval
        import utils
        from data.utils import pre_caption
        self.torch, self.reference, self.utils, self.pre_caption = torch, train_retrieval, utils, pre_caption
        self.reference.args = argparse.Namespace(distributed=False)
        self.log_every = utils.MetricLogger.log_every
        self.device, self.precision = torch.device("cpu"), "fp32"

    def now(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def hello(self):
        import timm
        import transformers
        versions = {"python": sys.version.split()[0], "torch": self.torch.__version__,
                    "transformers": transformers.__version__, "timm": timm.__version__}
        return {"versions": versions, "threads": self.torch.get_num_threads()}

    def load(self, checkpoint, vit, image_size, queue_size, device="cpu", precision="fp32", **options):
        torch = self.torch
        if device == "cuda":
            if not torch.cuda.is_available():
                raise Unusable(f"the reference's torch {torch.__version__} sees no GPU; "
                               "use --device cpu, or a torch built for CUDA")
            reference_shims.allow_device_indices()
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.device, self.precision = torch.device(device), precision
        start = time.perf_counter()
        model = self.blip_retrieval.blip_retrieval(
            pretrained=checkpoint, image_size=image_size, vit=vit, queue_size=queue_size, **options)
        self.model = model.to(self.device)
        return {"seconds": self.now() - start}

    def autocast(self):
        return self.torch.autocast(self.device.type, self.torch.bfloat16, enabled=self.precision == "bf16")

    def rerank(self, images, captions, k, batch=64, scores=None):
        from safetensors.torch import save_file
        loader = Loader(normalized(self.torch, images), [self.pre_caption(c, 30) for c in captions], batch)
        rerank_starts = []

        def log_every(logger, *args):
            rerank_starts.append((self.now(), time.process_time()))
            return self.log_every(logger, *args)

        self.utils.MetricLogger.log_every = log_every
        try:
            with self.autocast():
                start, cpu = self.now(), time.process_time()
                i2t, t2i = self.reference.evaluation(self.model, loader, self.device, {"k_test": k})
                end, cpu_end = self.now(), time.process_time()
        finally:
            self.utils.MetricLogger.log_every = self.log_every
        if scores:
            save_file({name: self.torch.from_numpy(m).contiguous() for name, m in (("i2t", i2t), ("t2i", t2i))}, scores)
        rerank_start, rerank_cpu = rerank_starts[0]
        return {"seconds": {"features": rerank_start - start, "rerank": end - rerank_start, "cpu": cpu_end - cpu,
                            "rerank_cpu": cpu_end - rerank_cpu}, "memory": self.memory()}

    def load_training(self, vit_ckpt_layer, **setting):
        torch = self.torch
        if not torch.distributed.is_initialized():  # it gathers features even where there is one process
            torch.distributed.init_process_group(
                "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
        answer = self.load(vit_grad_ckpt=vit_ckpt_layer > 0, vit_ckpt_layer=vit_ckpt_layer, negative_all_rank=True,
                           **setting)
        torch.manual_seed(42)
        # configs/retrieval_coco.yaml. Not wrapped in DistributedDataParallel, which would only cost it time and memory.
        self.optimizer = torch.optim.AdamW(params=self.model.parameters(), lr=1e-5, weight_decay=0.05)
        return answer

    def train(self, images, captions, batch):
        pixels, marks, losses = normalized(self.torch, images), [], {"loss_itm": [], "loss_ita": []}
        texts = [self.pre_caption(c, 30) for c in captions]
        loader = Batches(pixels, texts, batch, lambda: marks.append(self.now()))
        update = self.utils.MetricLogger.update

        def traced(logger, **values):
            for name in losses.keys() & values.keys():
                losses[name].append(values[name])
            update(logger, **values)

        self.utils.MetricLogger.update = traced
        # It would add the averages up over the ranks, of which there is one, on a GPU that need not be there.
        self.utils.MetricLogger.synchronize_between_processes = lambda logger: None
        try:
            with self.autocast():
                cpu = time.process_time()
                self.reference.train(self.model, loader, self.optimizer, 1, self.device, {"alpha": 0.4})
                marks.append(self.now())
                cpu = time.process_time() - cpu
        finally:
            self.utils.MetricLogger.update = update
        return {"seconds": [b - a for a, b in zip(marks, marks[1:])], "cpu": cpu, **losses,
                "memory": self.memory()}

    def open(self, checkpoint):
        start = time.perf_counter()
        model = self.torch.load(checkpoint, map_location="cpu", mmap=True, weights_only=True)["model"]
        return {"seconds": time.perf_counter() - start, "tensors": len(model)}

    def overhead(self, calls):
        a, b, add = self.torch.ones(4), self.torch.ones(4), self.torch.add
        with self.torch.no_grad():
            start = time.perf_counter()
            for _ in range(calls):
                add(a, b)
            return {"seconds": time.perf_counter() - start}

    def datasets(self, folder, image_size):
        from data import create_dataset
        return create_dataset("retrieval_coco", {"image_root": folder, "ann_root": folder, "image_size": image_size})

    def transform(self, folder, image_size):
        dataset = self.datasets(folder, image_size)[1]
        start = time.perf_counter()
        for i in range(len(dataset)):
            dataset[i]
        return {"seconds": time.perf_counter() - start, "images": len(dataset)}

    def epoch(self, folder, image_size, batch, workers):
        import cv2
        import PIL
        from data import create_loader
        if not hasattr(cv2, "__version__"):  # the empty module of reference_shims
            raise Unusable(f"{sys.executable} lacks OpenCV, which the reference augments with; "
                           f"run: {sys.executable} -m pip install opencv-python-headless")
        train = self.datasets(folder, image_size)[0]
        [loader] = create_loader([train], [None], [batch], [workers], [True], [None])
        start, cpu, images = time.perf_counter(), cpu_with_children(), 0
        for pixels, _captions, _indices in loader:  # at its end the workers have been joined, so that their time counts
            images += len(pixels)
        versions = {"torch": self.torch.__version__, "Pillow": PIL.__version__, "OpenCV": cv2.__version__}
        return {"seconds": time.perf_counter() - start, "cpu_seconds": cpu_with_children() - cpu, "images": images,
                "versions": versions}

    def memory(self):
        answer = {"peak_bytes": host_peak()}
        if self.device.type == "cuda":
            answer["device_peak_bytes"] = self.torch.cuda.max_memory_allocated()
        return answer


if __name__ == "__main__":
    checkout, vocabulary = sys.argv[1:3]
    serve(lambda: Runner(os.path.abspath(checkout), os.path.abspath(vocabulary)))
