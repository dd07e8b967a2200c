"""Answers as catalogues do of made-up datasets: a GeoNetwork by CSW 2.0.2, a CKAN, a udata, and RUDI's export of DCAT in JSON-LD.

Read in recorded answers: pages of CSW, records of ISO 19139, packages of CKAN. Read in their sources: RUDI's pages, context and
distributions, the parameters of udata. Each names a person and an e-mail, as they do: neither is to land.
"""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from ingestion.sandbox.answers import Api, Refused, Row, linked, whole
from ingestion.sandbox.files import split_name
from ingestion.sandbox.places import BOX
from ingestion.sandbox.stock import FIRST_DAY
from ingestion.sandbox.world import World, read_communes

METROPOLE, EPCI, SPACE = "Rennes Métropole", "fr:epci:243500139", uuid.UUID("5d1b6c8e-0000-4000-8000-000000000035")
PERSON, MAIL, ABOUT = "Camille Fictive", "camille.fictive@example.org", "Données fictives."
THEMES = {
    "arbres": "Arbres de l'espace public", "decheteries": "Déchèteries", "composteurs": "Composteurs collectifs",
    "limites": "Limites communales", "velo": "Pistes cyclables", "apport": "Points d'apport volontaire", "eau": "Cours d'eau",
    "espaces-verts": "Espaces verts", "chaleur": "Réseaux de chaleur", "toitures": "Potentiel solaire des toitures",
    "bruit": "Carte du bruit", "voirie": "Voirie",
}  # fmt: skip
"""What the metropole publishes, by the name of its layer."""
PARTNERS = ("Keolis Rennes", "Air Breizh", "Eau du bassin rennais")
SITES = {
    "sig": "https://public.sig.rennesmetropole.fr",
    "ckan": "https://data.megalis.bretagne.bzh",
    "rudi": "https://rudi.rennesmetropole.fr",
}
CSW = 'xmlns:csw="http://www.opengis.net/cat/csw/2.0.2"'


class Dataset(NamedTuple):
    """What a catalogue tells of a dataset; `links` are the format, the kind and the address of what it is had by."""

    id: str
    name: str
    title: str
    producer: str
    created: dt.date
    modified: dt.date
    links: tuple[tuple[str, str, str], ...] = ()


def dataset(world: World, name: str, title: str, producer: str, *links: tuple[str, str, str]) -> Dataset:
    """Make a dataset up: it changes every so many days, which is told on the day."""
    number = uuid.uuid5(SPACE, name)
    key = number.int % 2**31
    born, period = FIRST_DAY - dt.timedelta(days=int(world.draw("born", key) * 300)), 20 + int(world.draw("period", key) * 300)
    modified = FIRST_DAY + dt.timedelta(days=(world.until - FIRST_DAY).days // period * period)
    return Dataset(str(number), name, f"{title} (fictif)", producer, born, modified, links)


def of_metropole(world: World) -> list[Dataset]:
    """Layers of the metropole, each served by WFS and as a file."""
    wfs = ("WFS", "OGC:WFS", f"{SITES['sig']}/geoserver/ows")
    files = {name: ("CSV", "WWW:DOWNLOAD-1.0-http--download", f"{SITES['sig']}/fictif/{name}.csv") for name in THEMES}
    return [dataset(world, name, title, METROPOLE, wfs, files[name]) for name, title in THEMES.items()]


def of_communes(world: World) -> list[Dataset]:
    """What each commune of the metropole publishes."""
    return [
        dataset(world, f"{kind}-{row['siren']}", f"{title} de {row['name']}", f"Commune de {row['name']}",
                ("CSV", "", f"{SITES['ckan']}/fictif/{row['siren']}/{kind}.csv"))
        for row in read_communes() for kind, title in {"deliberations": "Délibérations", "budget": "Budget"}.items()
    ]  # fmt: skip


def of_partners(world: World) -> list[Dataset]:
    """What partners of the metropole share."""
    return [
        dataset(world, f"rudi-{name}-{n}", f"{title}, {producer}", producer, ("JSON", "", f"{SITES['rudi']}/medias/{name}-{n}/dwnl/1.0.0"))
        for name, title in THEMES.items() for n, producer in enumerate(PARTNERS)
    ]  # fmt: skip


class Csw(Api):
    """A GeoNetwork: records of ISO 19139 in the order of their identifiers, one of them of a service."""

    brick, cap, order, schema = "catalogue_geonetwork", 8, "Identifier:A", "http://www.isotc211.org/2005/gmd"

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give a page of records; names of parameters are read whatever their case."""
        asked = {name.lower(): value for name, value in args.items()}
        if asked.get("request") == "GetCapabilities":
            return f'<csw:Capabilities {CSW} version="2.0.2"/>'
        told = (asked.get("request"), asked.get("outputschema"), asked.get("sortby", self.order))
        if told != ("GetRecords", self.schema, self.order):
            raise self.refused(f"The sandbox gives records (GetRecords) of ISO 19139, sorted by {self.order}")
        if (constraint := asked.get("constraint", "")) not in ("", "(type = 'dataset')"):
            raise self.refused(f"The sandbox does not read {constraint}")
        found = of_metropole(self.world) + ([] if constraint else [dataset(self.world, "ows", "Service WFS", METROPOLE)])
        found.sort(key=lambda each: each.id)
        first, count = max(1, whole(asked, "startposition", 1)), whole(asked, "maxrecords", 10, self.cap)
        page = found[first - 1 : first - 1 + count]
        following = first + len(page) if first + len(page) <= len(found) else 0
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><csw:GetRecordsResponse {CSW}>'
            f'<csw:SearchStatus timestamp="{self.world.now.isoformat()}"/><csw:SearchResults numberOfRecordsMatched="{len(found)}" '
            f'numberOfRecordsReturned="{len(page)}" elementSet="full" nextRecord="{following}">{"".join(map(record, page))}'
            "</csw:SearchResults></csw:GetRecordsResponse>"
        )

    def refused(self, told: str) -> Refused:
        """Give the exception of a CSW."""
        own = f'<ows:Exception exceptionCode="NoApplicableCode"><ows:ExceptionText>{escape(told)}</ows:ExceptionText></ows:Exception>'
        return Refused(f'<ows:ExceptionReport xmlns:ows="http://www.opengis.net/ows" version="1.2.0">{own}</ows:ExceptionReport>')


def record(told: Dataset) -> str:
    """Write a dataset as a record of ISO 19139: what stands at each path, a `+` where another of the name begins."""
    about, party = "identificationInfo/MD_DataIdentification", "CI_ResponsibleParty"
    box, link = f"{about}/extent/EX_Extent/geographicElement/EX_GeographicBoundingBox", "+onLine/CI_OnlineResource"
    sent = "distributionInfo/MD_Distribution/transferOptions/MD_DigitalTransferOptions"
    dates, (west, south, east, north) = [("creation", told.created), ("revision", told.modified)], BOX
    lines: list[tuple[str, Any]] = [
        ("fileIdentifier", told.id), ("hierarchyLevel/MD_ScopeCode", "=dataset" if told.links else "=service"),
        (f"contact/{party}/individualName", PERSON), (f"contact/{party}/organisationName", told.producer),
        (f"contact/{party}/contactInfo/CI_Contact/address/CI_Address/electronicMailAddress", MAIL),
        (f"contact/{party}/role/CI_RoleCode", "=owner"), ("dateStamp", told.modified), (f"{about}/citation/CI_Citation/title", told.title),
        *(each for kind, day in dates for each in (
            (f"{about}/citation/CI_Citation/+date/CI_Date/date", day),
            (f"{about}/citation/CI_Citation/date/CI_Date/dateType/CI_DateTypeCode", f"={kind}"))),
        (f"{about}/abstract", ABOUT), (f"{about}/pointOfContact/{party}/individualName", PERSON),
        (f"{about}/descriptiveKeywords/MD_Keywords/keyword", told.name),
        (f"{about}/resourceConstraints/MD_LegalConstraints/useLimitation", "Licence Ouverte 2.0"),
        (f"{box}/westBoundLongitude", west), (f"{box}/eastBoundLongitude", east),
        (f"{box}/southBoundLatitude", south), (f"{box}/northBoundLatitude", north),
        *(each for _, kind, url in told.links for each in (
            (f"{sent}/{link}/linkage", url), (f"{sent}/{link[1:]}/protocol", kind), (f"{sent}/{link[1:]}/name", told.name))),
    ]  # fmt: skip
    root = ElementTree.Element("gmd:MD_Metadata", {"xmlns:gmd": Csw.schema, "xmlns:gco": "http://www.isotc211.org/2005/gco"})
    for path, value in lines:
        at = root
        for name in path.split("/"):
            held = [] if name.startswith("+") else [each for each in at if each.tag == f"gmd:{name}"]
            at = held[-1] if held else ElementTree.SubElement(at, f"gmd:{name.lstrip('+')}")
        if str(value).startswith("="):
            at.set("codeListValue", value[1:])
        else:
            kind = {dt.date: "gco:Date", float: "gco:Decimal"}.get(type(value), "gco:CharacterString")
            ElementTree.SubElement(at, "gmd:URL" if path.endswith("linkage") else kind).text = str(value)
    return ElementTree.tostring(root, encoding="unicode")


class Ckan(Api):
    """A CKAN of the communes: package_search, by organisation, and what the portal says of itself."""

    brick, cap, order = "opendata_megalis", 50, "metadata_created asc, id asc"

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give the result of an action."""
        if parts == ("api", "3", "action", "status_show"):
            return {"success": True, "result": {"ckan_version": "2.12.0", "site_url": SITES["ckan"], "site_title": ABOUT}}
        if parts != ("api", "3", "action", "package_search"):
            raise Refused({"success": False, "error": {"__type": "Not Found Error", "message": "/".join(parts)}}, 404)
        named = re.fullmatch(r"organization:([a-z0-9-]+)", args.get("fq", "organization:any"))
        if not named or args.get("sort", self.order) != self.order:
            raise self.refused(f"Could not parse query: {args.get('fq')} {args.get('sort')}")
        packages = [self._package(each) for each in sorted(of_communes(self.world), key=lambda each: (each.created, each.id))]
        found = [each for each in packages if named[1] in ("any", each["organization"]["name"])]
        start, rows = whole(args, "start", 0), whole(args, "rows", 10, self.cap)
        return {"success": True, "result": {"count": len(found), "sort": self.order, "results": found[start : start + rows]}}

    def _package(self, told: Dataset) -> Row:
        owner = {"name": f"commune-de-{split_name({'nccenr': told.producer[11:]}).lower().replace(' ', '-')}", "title": told.producer}
        resources = [
            {"id": str(uuid.uuid5(SPACE, url)), "name": told.title, "url": url, "format": form, "mimetype": "text/csv", "size": None,
             "last_modified": f"{told.modified}T08:00:00", "datastore_active": False} for form, _, url in told.links
        ]  # fmt: skip
        return {"id": told.id, "name": told.name, "title": told.title, "notes": ABOUT, "type": "dataset", "license_id": "etalab-2.0",
                "author": PERSON, "author_email": MAIL, "maintainer": PERSON, "maintainer_email": MAIL, "organization": owner,
                "metadata_created": f"{told.created}T08:00:00.000001", "metadata_modified": f"{told.modified}T08:00:00.000001",
                "tags": [{"name": told.name.partition("-")[0]}], "resources": resources}  # fmt: skip

    def refused(self, told: str) -> Refused:
        """Give what an action gives that cannot be done."""
        return Refused({"success": False, "error": {"__type": "Search Query Error", "message": told}}, 409)


class Udata(Api):
    """A udata of what the metropole publishes on data.gouv.fr, and of a dataset of elsewhere: pages that lead on."""

    brick, cap = "catalogue_datagouv", 8

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give a page of datasets, by when they were made."""
        if parts != ("api", "1", "datasets"):
            raise Refused({"message": "Not Found"}, 404)
        if "organization" in args:
            raise self.refused("The sandbox knows no organization")
        elsewhere = dataset(self.world, "elsewhere", "Arbres d'une autre ville", "Ville d'ailleurs")
        held = [(EPCI, each) for each in of_metropole(self.world)] + [("fr:commune:22050", elsewhere)]
        found = sorted((each for each in held if args.get("geozone") in (None, each[0])), key=lambda each: (each[1].created, each[1].id))
        number, size = max(1, whole(args, "page", 1)), whole(args, "page_size", 20, self.cap)
        following = linked(f"{root}/api/1/datasets/", args, page=number + 1) if number * size < len(found) else None
        data = [self._written(*each) for each in found[(number - 1) * size : number * size]]
        return {"data": data, "page": number, "page_size": size, "total": len(found), "next_page": following, "previous_page": None}

    def _written(self, zone: str, told: Dataset) -> Row:
        created, modified = f"{told.created}T08:00:00+00:00", f"{told.modified}T08:00:00+00:00"
        resources = [
            {"id": str(uuid.uuid5(SPACE, told.name + url)), "title": told.title, "url": url, "format": form.lower(), "mime": None,
             "filesize": None, "checksum": None, "created_at": created, "last_modified": modified} for form, _, url in told.links
        ]  # fmt: skip
        return {"id": told.id.replace("-", "")[:24], "title": told.title, "slug": told.name, "description": ABOUT, "license": "lov2",
                "organization": {"name": told.producer}, "owner": {"first_name": PERSON}, "tags": [told.name], "frequency": "annual",
                "contact_points": [{"name": PERSON, "email": MAIL}], "created_at": created, "last_update": modified,
                "spatial": {"zones": [zone]}, "resources": resources,
                "page": f"https://www.data.gouv.fr/datasets/{told.name}/"}  # fmt: skip

    def refused(self, told: str) -> Refused:
        """Give what API 1 says of a parameter that is none."""
        return Refused({"message": f"Input payload validation failed: {told}"})


DCT, DCAT, HYDRA = "http://purl.org/dc/terms/", "http://www.w3.org/ns/dcat#", "http://www.w3.org/ns/hydra/core#"
# RUDI's has no base: without it, what lands would tell the port of the sandbox.
CONTEXT: Row = {
    "@base": f"{SITES['rudi']}/konsult/v1/datasets/metadatas/", "@vocab": DCAT, "dct": DCT, "dcat": DCAT, "hydra": HYDRA,
    "vcard": "http://www.w3.org/2006/vcard/ns#", "fn": "vcard:fn", "hasEmail": "vcard:email",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    **{name: f"dct:{name}" for name in ("accrualPeriodicity", "description", "format", "identifier", "license", "spatial", "title")},
    **{name: {"@id": f"dct:{name}", "@type": "http://www.w3.org/2001/XMLSchema#dateTime"} for name in ("issued", "modified")},
    **{name: {"@id": f"hydra:{name}", "@type": "@id"} for name in ("first", "last", "next", "previous")},
    **{name: {"@id": f"dcat:{name}", "@type": "@id"} for name in ("distribution", "downloadURL")},
}  # fmt: skip


class Rudi(Api):
    """The portal of RUDI: its catalogue in JSON-LD, pages that Hydra leads through."""

    brick, kind, path = "catalogue_rudi", "application/ld+json", "konsult/v1/datasets/metadatas/dcat"

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give a page of the catalogue, with those who made what it tells of."""
        if "/".join(parts) != self.path:
            raise Refused({"code": "404", "label": "Not Found"}, 404)
        found = sorted(of_partners(self.world), key=lambda each: each.id)
        number, size = max(1, whole(args, "page", 1)), max(1, whole(args, "pageSize", 10))
        pages = {"@id": number, "first": 1, "last": -(-len(found) // size), "next": number + 1, "previous": number - 1}
        view = {
            name: linked(f"{root}/{self.path}", {}, page=page, pageSize=size) for name, page in pages.items() if 0 < page <= pages["last"]
        }
        kinds = [{"@id": str(uuid.uuid5(SPACE, name)), "@type": "vcard:Kind", "fn": name} for name in PARTNERS]
        kinds.append({"@id": str(uuid.uuid5(SPACE, PERSON)), "@type": "vcard:Kind", "fn": PERSON, "hasEmail": MAIL})
        told = [node for each in found[(number - 1) * size : number * size] for node in self._written(each)]
        return {"@context": CONTEXT, "@graph": [{"@type": "hydra:PartialCollectionView", **view}, *told, *kinds]}

    def _written(self, told: Dataset) -> list[Row]:
        files = [
            {"@id": str(uuid.uuid5(SPACE, url)), "@type": "Distribution", "title": told.title, "downloadURL": url, "format": "dwnl",
             "mediaType": "application/json", "byteSize": 1000 + len(url), "license": {"id": "lov2"}} for _, _, url in told.links
        ]  # fmt: skip
        own = {"@id": told.id, "@type": "Dataset", "identifier": told.id, "title": told.title, "description": ABOUT, "keyword": [told.name],
               "issued": f"{told.created}T08:00:00Z", "modified": f"{told.modified}T08:00:00Z", "accrualPeriodicity": "unknown",
               "landingPage": f"{SITES['rudi']}/catalogue/detail/{told.id}", "dcat:theme": ["environment"],
               "spatial": {"@type": "dct:Location", "rdfs:label": told.title}, "contactPoint": [{"@id": str(uuid.uuid5(SPACE, PERSON))}],
               "dct:creator": {"@id": str(uuid.uuid5(SPACE, told.producer))}, "distribution": [each["@id"] for each in files]}  # fmt: skip
        return [*files, own]

    def refused(self, told: str) -> Refused:
        """Give how a microservice of RUDI refuses."""
        return Refused({"code": "400", "label": told})


PLAYS = {api.brick: api for api in (Csw, Ckan, Udata, Rudi)}
