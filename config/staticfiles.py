from whitenoise.storage import CompressedManifestStaticFilesStorage


class ModuleManifestStaticFilesStorage(CompressedManifestStaticFilesStorage):
    """Also rewrites the imports of ES modules to their hashed names."""

    support_js_module_import_aggregation = True
