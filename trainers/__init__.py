"""The trainers, one thin file each; installed as ``nnunet_topo.trainers``, found through nnUNet_extTrainer."""
