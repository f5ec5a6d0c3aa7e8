"""Tables as folders of files in object stores: S3 and compatible, Azure Blob and ADLS Gen2, Google Cloud Storage."""
