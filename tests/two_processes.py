"""Running a function in two processes that share a gloo group."""

import multiprocessing

import torch
import torch.distributed as dist

fork = multiprocessing.get_context("fork")


def in_two_processes(task, folder):
    """What ``task(rank)`` returns in each of two processes that share a gloo group."""
    queue = fork.SimpleQueue()
    workers = [fork.Process(target=_work, args=(task, rank, folder, queue)) for rank in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0, "a process failed; its error is above"
    return dict(queue.get() for _ in workers)


def _work(task, rank, folder, queue):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    queue.put((rank, task(rank)))
    dist.destroy_process_group()
