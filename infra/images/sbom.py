"""The software bill of materials of an image, as CycloneDX 1.6."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from pydantic import BaseModel

from infra.images.plan import Labels


class Package(BaseModel):
    """One line of what `infra.images.inventory` prints."""

    kind: str
    """As in a package URL: `pypi` or `deb`."""
    name: str
    version: str
    licence: str
    architecture: str


def bill_of_materials(image: str, labels: Labels, packages: Iterable[Package]) -> str:
    """JSON. The same for the same packages of the same commit."""
    subject = Component(
        name=image, type=ComponentType.CONTAINER, version=labels.version, bom_ref=image
    )
    metadata = BomMetaData(component=subject, timestamp=datetime.fromtimestamp(labels.created, UTC))
    bom = Bom(
        metadata=metadata,
        components=[_component(one) for one in packages],
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"{image}@{labels.revision}"),
    )
    bom.register_dependency(subject, bom.components)
    return JsonV1Dot6(bom).output_as_string(indent=2)


def _component(package: Package) -> Component:
    url = PackageURL(
        type=package.kind,
        namespace="debian" if package.kind == "deb" else None,
        name=package.name.lower().replace("_", "-"),
        version=package.version,
        qualifiers={"arch": package.architecture} if package.architecture else None,
    )
    licences = [LicenseFactory().make_from_string(package.licence)] if package.licence else []
    return Component(
        name=package.name,
        version=package.version,
        purl=url,
        licenses=licences,
        bom_ref=url.to_string(),
    )
