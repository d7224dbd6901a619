"""Published data sets, as they are downloaded, into nnU-Net's raw format."""
