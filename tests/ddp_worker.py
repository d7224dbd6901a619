"""One of two processes that train together on the CPU, as by ``nnUNetv2_train -num_gpus 2``: see test_as_on_gpus.py."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer
from torch import distributed
from torch.nn.parallel import DistributedDataParallel


def main(rank: int, folder: Path, dataset: str, configuration: str, name: str, plans: str) -> None:
    trainer = get_trainer_from_args(dataset, configuration, 0, name, plans, False, torch.device("cpu"))
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    trainer.is_ddp, trainer.local_rank = True, rank  # what nnU-Net's constructor sets, beside a GPU for each process
    nnUNetTrainer.DDP = lambda network, device_ids: DistributedDataParallel(network)
    trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, 2, 1
    trainer.initialize()
    own_means: list[dict[str, float]] = []
    take_means = trainer.loss.take_means

    def take_and_keep() -> dict[str, float]:
        own_means.append(take_means())
        return own_means[-1]

    trainer.loss.take_means = take_and_keep
    trainer.run_training()
    weights = torch.cat([parameter.detach().flatten() for parameter in trainer.network.parameters()])
    log = trainer.logger.local_logger.my_fantastic_logging
    (folder / f"{rank}.json").write_text(json.dumps({
        "weights": weights.tolist(),
        "own means": own_means[1:],  # the first are taken, and thrown away, as the epoch begins
        "logged": {key: value for key, value in log.items() if key.startswith("topology/")}}))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
