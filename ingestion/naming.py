"""The naming of columns that dlt is told: none changes, else it writes the files again under names that no journal entry knows."""

from dlt.common.normalizers.naming.direct import NamingConvention as Direct


class NamingConvention(Direct):
    """Names as they are, quotes, line feeds, blanks and length included."""

    def normalize_identifier(self, identifier: str) -> str:
        """Give the name of a column as it is."""
        return identifier

    def normalize_path(self, path: str) -> str:
        """Give the name of a column as it is, whatever it holds."""
        return path
