"""The side of `bench --against transformers`: BlipForImageTextRetrieval scores the same pairs, as its users have it do.

python transformers_runner.py pairs|images      the protocol is that of runner_protocol.py

  {"op": "load", "checkpoint": FOLDER, "device", "precision", …}          from_pretrained(FOLDER)
  {"op": "rerank", "images", "captions", "k", "batch", "scores"}          similarities, then the matching of the k best

Everything goes through the model's forward. Similarities: use_itm_head=False on blocks of `batch` images and `batch` texts.
Matching: use_itm_head=True. Its forward encodes the images that it is given, and this is where the two ways differ:
  pairs   k pairs at a time, an image and a text in each: for every image its k texts, for every text its k images, so that
          the image encoder runs for every pair. The class has no other interface for pairs.
  images  one image with all texts that want it, `batch` at a time, a pair of both directions once: the class's attention
          happens to broadcast one image over many texts, so that image encoder, keys and values are computed once a batch.
          This is the fairest that its forward allows.
A score is matching logit + similarity and a text's first token is [ENC] there, as in BLIP; the class does neither by itself.
"""
import sys
import time

from runner_protocol import Unusable, demand_packages, host_peak, normalized, pip_install, serve

PACKAGES = {"torch": "torch", "transformers": "'transformers>=4.40'", "safetensors": "safetensors"}
NOT_RERANKED = -100
MAX_TOKENS = 35


class Runner:
    def __init__(self, way):
        demand_packages(PACKAGES)
        from importlib.metadata import version
        if tuple(int(part) for part in version("transformers").split(".")[:2]) < (4, 40):
            raise Unusable(f"{sys.executable} has transformers {version('transformers')}, whose "
                           "BlipForImageTextRetrieval is too old; "
                           f"run: {pip_install(PACKAGES, 'transformers')} (a venv of its own leaves the reference's alone)")
        import torch
        import transformers
        self.torch, self.transformers, self.way = torch, transformers, way
        self.device, self.precision = torch.device("cpu"), "fp32"

    def hello(self):
        versions = {"python": sys.version.split()[0], "torch": self.torch.__version__,
                    "transformers": self.transformers.__version__}
        return {"versions": versions, "threads": self.torch.get_num_threads()}

    def now(self):
        if self.device.type == "cuda":
            self.torch.cuda.synchronize()
        return time.perf_counter()

    def load(self, checkpoint, device="cpu", precision="fp32", **_sizes):
        torch = self.torch
        if device == "cuda" and not torch.cuda.is_available():
            raise Unusable(f"torch {torch.__version__} beside transformers sees no GPU; "
                           "use --device cpu, or a torch built for CUDA")
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision == "tf32"
        self.device, self.precision = torch.device(device), precision
        start = time.perf_counter()
        self.tokenizer = self.transformers.AutoTokenizer.from_pretrained(checkpoint)
        self.enc = self.tokenizer.convert_tokens_to_ids("[ENC]")
        model = self.transformers.BlipForImageTextRetrieval.from_pretrained(checkpoint)
        self.model = model.eval().to(self.device)
        return {"seconds": self.now() - start}

    def rerank(self, images, captions, k, batch=64, scores=None):
        torch = self.torch
        pixels = normalized(torch, images)
        with torch.no_grad(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            start, cpu = self.now(), time.process_time()
            texts = self.tokenizer(captions, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
            ids, mask = texts["input_ids"], texts["attention_mask"]
            similarity = self.similarities(pixels, ids, mask, batch)
            rerank_start, rerank_cpu = self.now(), time.process_time()
            ids = ids.clone()
            ids[:, 0] = self.enc
            i2t, t2i = getattr(self, f"by_{self.way}")(pixels, ids, mask, similarity, k, batch)
            end, cpu_end = self.now(), time.process_time()
        if scores:
            from safetensors.torch import save_file
            save_file({"i2t": i2t.contiguous(), "t2i": t2i.contiguous()}, scores)
        memory = {"peak_bytes": host_peak()}
        if self.device.type == "cuda":
            memory["device_peak_bytes"] = torch.cuda.max_memory_allocated()
        return {"seconds": {"features": rerank_start - start, "rerank": end - rerank_start, "cpu": cpu_end - cpu,
                            "rerank_cpu": cpu_end - rerank_cpu}, "memory": memory}

    def forward(self, pixels, ids, mask, itm):
        move = [x.to(self.device) for x in (ids, mask, pixels)]
        return self.model(input_ids=move[0], attention_mask=move[1], pixel_values=move[2], use_itm_head=itm)[0].float().cpu()

    def match(self, pixels, ids, mask):
        return self.forward(pixels, ids, mask, True)[:, 1]

    def similarities(self, pixels, ids, mask, batch):
        """(images, texts)"""
        rows = [self.torch.cat([self.forward(image, text, m, False) for text, m in zip(ids.split(batch), mask.split(batch))], 1)
                for image in pixels.split(batch)]
        return self.torch.cat(rows)

    def by_pairs(self, pixels, ids, mask, similarity, k, _batch):
        i2t, t2i = (self.torch.full(s.shape, float(NOT_RERANKED)) for s in (similarity, similarity.t()))
        for image, row in enumerate(similarity):
            best, texts = row.topk(k)
            i2t[image, texts] = best + self.match(pixels[image].expand(k, -1, -1, -1), ids[texts], mask[texts])
        for text, row in enumerate(similarity.t()):
            best, images = row.topk(k)
            t2i[text, images] = best + self.match(pixels[images], ids[text].expand(k, -1), mask[text].expand(k, -1))
        return i2t, t2i

    def by_images(self, pixels, ids, mask, similarity, k, batch):
        torch = self.torch
        of_image = torch.zeros(similarity.shape, dtype=torch.bool).scatter_(1, similarity.topk(k, 1).indices, True)
        of_text = torch.zeros(similarity.shape, dtype=torch.bool).scatter_(0, similarity.topk(k, 0).indices, True)
        total = torch.full(similarity.shape, float(NOT_RERANKED))
        for image, wanted in enumerate(of_image | of_text):
            for texts in wanted.nonzero()[:, 0].split(batch):
                logits = self.match(pixels[image:image + 1], ids[texts], mask[texts])
                total[image, texts] = similarity[image, texts] + logits
        no = torch.tensor(float(NOT_RERANKED))
        return torch.where(of_image, total, no), torch.where(of_text, total, no).t()


if __name__ == "__main__":
    serve(lambda: Runner(sys.argv[1]))
