"""Times in the admin, which are read beside logs: to the second, and in their order."""

DATETIME_FORMAT = "Y-m-d H:i:s"
