"""Two real gloo processes give what one process gives on the whole batch."""

import socket
from io import BytesIO
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from x2vlm.distributed import all_gather_objects, all_gather_rows, rank, row_offset, world_size
from x2vlm.objectives.itc import ITC

ROWS = (3, 2)  # of each process: unequal on purpose in the gather, equal in the loss
WIDTH = 4


def data(count):
    generator = torch.Generator().manual_seed(0)
    images, texts = (torch.randn(count, WIDTH, generator=generator) for _ in range(2))
    return images, texts, torch.tensor([0, 1, 2, 1])[:count]


def loss_and_gradients(rows, itc):
    """The contrastive loss of two linear encoders on some rows, with the gradients that DDP would average."""
    torch.manual_seed(1)
    encoders = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)])
    temperature = nn.Parameter(torch.tensor(0.1))
    images, texts, ids = (x[rows] for x in data(4))
    feats = [nn.functional.normalize(e(x), dim=-1) for e, x in zip(encoders, (images, texts), strict=True)]
    batch = SimpleNamespace(ids=ids, __len__=lambda: len(ids))
    encoded = SimpleNamespace(
        context=SimpleNamespace(feat=feats[0]),
        text=SimpleNamespace(feat=feats[1], mask=torch.ones(len(ids), 2, dtype=torch.bool)),
        temperature=temperature,
        batch=_Sized(batch, len(ids)),
    )
    loss = itc.losses(encoded, ())["loss_itc"]
    loss.backward()
    return loss.detach(), [*(p.grad for p in encoders.parameters()), temperature.grad]


class _Sized:
    def __init__(self, batch, count):
        self.ids, self.count = batch.ids, count

    def __len__(self):
        return self.count


def averaged(tensor):
    total = tensor.clone()
    dist.all_reduce(total)
    return total / world_size()


def work(number, port, queue):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=number, world_size=2)
    torch.set_num_threads(1)
    rows = torch.full((ROWS[number], 2), float(number), requires_grad=True)
    gathered = all_gather_rows(rows)
    weights = torch.arange(1.0, 6.0)[:, None] * (number + 1)
    (gathered * weights).sum().backward()
    results = dict(
        gathered=gathered.detach(), grad=rows.grad, offset=row_offset(rows), ranks=all_gather_objects(rank())
    )
    mine = slice(2 * number, 2 * number + 2)
    for grad in ("exact", "official"):
        loss, gradients = loss_and_gradients(mine, ITC(grad=grad))
        results[grad] = (averaged(loss), [averaged(g) for g in gradients])
    plain = BytesIO()
    torch.save(results, plain)  # tensors in a queue stay with the process that put them, which may have ended
    queue.put((number, plain.getvalue()))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def processes():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = mp.get_context("spawn")
    queue = context.Queue()
    children = [context.Process(target=work, args=(n, port, queue)) for n in range(2)]
    for child in children:
        child.start()
    results = dict(queue.get(timeout=120) for _ in children)
    results = {number: torch.load(BytesIO(results[number])) for number in (0, 1)}
    for child in children:
        child.join(timeout=60)
    return results


@pytest.mark.slow
def test_rows_of_all_processes_are_gathered_in_order_of_rank(processes):
    for results in processes.values():
        assert results["gathered"][:, 0].tolist() == [0, 0, 0, 1, 1]
        assert results["ranks"] == [0, 1]
    assert [processes[n]["offset"] for n in (0, 1)] == [0, 3]


@pytest.mark.slow
def test_the_gradient_of_a_gathered_row_is_summed_over_processes(processes):
    assert processes[0]["grad"][:, 0].tolist() == [3, 6, 9]  # weights 1, 2, 3 in one process, 2, 4, 6 in the other
    assert processes[1]["grad"][:, 0].tolist() == [12, 15]


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradient_of_one_with_the_whole_batch(processes):
    loss, gradients = loss_and_gradients(slice(None), ITC())
    for results in processes.values():
        torch.testing.assert_close(results["exact"][0], loss, atol=1e-6, rtol=0)
        for ours, whole in zip(results["exact"][1], gradients, strict=True):
            torch.testing.assert_close(ours, whole, atol=1e-6, rtol=1e-5)


@pytest.mark.slow
def test_the_published_scaling_divides_the_encoders_gradient_but_not_the_temperatures(processes):
    _, gradients = loss_and_gradients(slice(None), ITC())
    *encoders, temperature = processes[0]["official"][1]
    for ours, whole in zip(encoders, gradients[:-1], strict=True):
        torch.testing.assert_close(ours, whole / 2, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(temperature, gradients[-1], atol=1e-6, rtol=1e-5)


def test_one_process_gathers_itself():
    rows = torch.ones(2, 3)
    assert all_gather_rows(rows) is rows
    assert (rank(), world_size(), row_offset(rows), all_gather_objects("x")) == (0, 1, 0, ["x"])
