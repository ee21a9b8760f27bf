"""Scores that Hugging Face transformers gives for every pair of image and text of two splits.

    python transformers_scores.py FOLDER INPUTS.json SCORES.safetensors

FOLDER is a model as save_pretrained (or this project's `export`) writes it. INPUTS.json holds, for "val" and "test",
{"images": [path, ...], "texts": [caption ready for the tokenizer, ...]}. Written are itm_{val,test}, logit 1 of the
matching head with [ENC] (30523) at position 0, and itc_{val,test}, the cosine of the projected features: [images, texts],
float32, on the CPU. A score of this project is their sum. Runs with transformers 4.26 and later, Pillow and torch.

scores.safetensors of this folder was made with transformers 5.24.0, torch 2.11.0 and Pillow 13, from the weights of
rule_tiny under Hugging Face's names, on rule_tiny's data: see test/cli/hugging-face.test.ts.
"""

import json
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import save_file
from transformers import BertTokenizer, BlipForImageTextRetrieval

ENC = 30523
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32)

folder, inputs, output = sys.argv[1:]
model, loading = BlipForImageTextRetrieval.from_pretrained(folder, output_loading_info=True)
problems = {name: sorted(map(str, keys)) for name, keys in loading.items() if keys}
assert not problems, problems
model.float().eval()
size = model.config.vision_config.image_size
tokenizer = BertTokenizer.from_pretrained(folder)


def pixels(path):
    image = Image.open(path).convert("RGB").resize((size, size), Image.BICUBIC)
    return (np.asarray(image, dtype=np.float32) / np.float32(255) - MEAN) / STD


def scores(images, texts):
    values = torch.from_numpy(np.stack([pixels(path) for path in images])).permute(0, 3, 1, 2).contiguous()
    tokens = tokenizer(texts, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
    ids, mask = tokens.input_ids, tokens.attention_mask
    itm, itc = [], []
    for value in values:
        value = value[None].expand(len(texts), -1, -1, -1)
        cosine = model(input_ids=ids, pixel_values=value[:1], attention_mask=mask, use_itm_head=False)[0]
        read = ids.clone()
        read[:, 0] = ENC
        logits = model(input_ids=read, pixel_values=value, attention_mask=mask)[0]
        itm.append(logits[:, 1])
        itc.append(cosine[0])
    return torch.stack(itm).numpy(), torch.stack(itc).numpy()


found = {}
with open(inputs) as file, torch.no_grad():
    for split, (images, texts) in ((name, of.values()) for name, of in json.load(file).items()):
        found[f"itm_{split}"], found[f"itc_{split}"] = scores(images, texts)
save_file({name: np.ascontiguousarray(value) for name, value in sorted(found.items())}, output)
print(json.dumps({name: value.shape for name, value in found.items()}))
