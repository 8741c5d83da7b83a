"""The local target: two sites on this machine. `pulumi up` in this folder."""

import pulumi

from orchestrator.model.errors import AnlanError
from stacks import places
from stacks.components.ansible import programs_digest, roles_directory
from stacks.components.config import KEYS, parse_config
from stacks.components.descriptor import deployment_digest, describe
from stacks.components.erp_environment import ErpEnvironment
from stacks.components.layout import local_layout

try:
    configured = pulumi.Config()
    values = {
        key: configured.get_object(key) if key == "addresses" else configured.get(key)
        for key in KEYS
    }
    config = parse_config(
        values, pulumi.get_stack(), places.state_directory(), places.service_user()
    )
    roles = roles_directory()
    layout = local_layout(config, roles)
    digest = deployment_digest(layout, roles, places.PROGRAMS)
    environment = ErpEnvironment(config.name, layout, describe(layout, digest))
except AnlanError as error:
    raise pulumi.RunError(str(error)) from None

pulumi.export("environment", environment.descriptor)
pulumi.export("config_digest", digest)
pulumi.export("programs_digest", programs_digest(places.PROGRAMS))
