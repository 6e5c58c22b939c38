"""Says that the wheel holds programs for one platform and serves every Python."""

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PlatformTag(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data["pure_python"] = False
        # auditwheel replaces the platform by the oldest system whose C library has all that the programs need.
        build_data["tag"] = "py3-none-linux_x86_64"
