"""A Python rank for the tests: torch.distributed and DistributedDataParallel as anybody uses them."""
import json
import sys

import torch
import torch.distributed as dist


class Toy(torch.nn.Module):
    """The model of toy.ts."""

    def __init__(self, rank):
        super().__init__()

        def weight(rows, columns, factor):
            values = [((i * factor + rank * 3) % 13) / 13 - 0.5 for i in range(rows * columns)]
            return torch.nn.Parameter(torch.tensor(values).reshape(rows, columns))

        self.first, self.second = weight(4, 8, 5), weight(8, 1, 7)

    def forward(self, x):
        return (torch.nn.functional.gelu(x @ self.first) @ self.second).square().mean()


def collectives(rank):
    reduced = torch.tensor([rank + 1.0, 2.0])
    dist.all_reduce(reduced)
    sent = torch.tensor([10.0 * rank])
    dist.broadcast(sent, 1)
    gathered = torch.empty(4)
    dist.all_gather_into_tensor(gathered, torch.tensor([float(rank), 7.0]))
    dist.barrier()
    return {"reduced": reduced.tolist(), "sent": sent.tolist(), "gathered": gathered.tolist()}


def train(rank):
    toy = Toy(rank)
    parallel = torch.nn.parallel.DistributedDataParallel(toy, broadcast_buffers=False)
    for step in range(3):
        rows = range(rank * 3, rank * 3 + 3)
        x = torch.tensor([[((row * 7 + column * 3 + step * 5) % 11) / 11 for column in range(4)] for row in rows])
        parallel.zero_grad()
        parallel(x).backward()
        with torch.no_grad():
            for weight in (toy.first, toy.second):
                weight -= 0.1 * weight.grad
    dist.barrier()
    return {"weights": toy.first.flatten().tolist() + toy.second.flatten().tolist()}


dist.init_process_group("gloo")
print(json.dumps({"collectives": collectives, "train": train}[sys.argv[1]](dist.get_rank())))
dist.destroy_process_group()
