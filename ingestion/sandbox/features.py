"""Answers as servers of features do: a GeoServer by WFS 2.0, OGC API Features, a FeatureServer of ArcGIS.

Read in recorded answers: capabilities, hits, exceptions and collections of WFS, members of collections of OGC API Features. Read in what
their makers document: pages and caps, clockwise rings, errors under 200 of ArcGIS. What they do not read (most filters), they refuse.
"""

from __future__ import annotations

import sqlite3
from typing import Any
from xml.sax.saxutils import escape

from ingestion.sandbox.answers import Api, Refused, Row, linked, whole
from ingestion.sandbox.clock import epoch_hour
from ingestion.sandbox.places import BOX, iris, lighting, trees
from ingestion.sandbox.stock import FIRST_DAY

OWS = 'xmlns:wfs="http://www.opengis.net/wfs/2.0" xmlns:ows="http://www.opengis.net/ows/1.1"'


def feature(row: Row, kind: str, place: Any, **own: Any) -> Row:
    """Write a row as a feature of GeoJSON."""
    values = {name: value for name, value in row.items() if name not in ("id", "place", "ring")}
    return {"type": "Feature", **own, "geometry": {"type": kind, "coordinates": place}, "properties": values}


class Wfs(Api):
    """A GeoServer of one feature type: pages by index, capped below what is asked for."""

    brick, name, cap = "arbres_rennes", "espub_esv:arbre", 100

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give the capabilities, features or their number; names of parameters are read whatever their case."""
        asked = {name.upper(): value for name, value in args.items()}
        if asked.get("REQUEST") == "GetCapabilities":
            return self._capabilities()
        if asked.get("REQUEST") != "GetFeature":
            raise self.refused(f"No such operation: {asked.get('REQUEST')}")
        if (name := asked.get("TYPENAMES", asked.get("TYPENAME", ""))) != self.name:
            raise self.refused(f"Feature type {name} unknown")
        if unread := [name for name in ("FILTER", "CQL_FILTER", "BBOX", "RESOURCEID", "SORTBY") if name in asked]:
            raise self.refused(f"The sandbox reads no {unread[0]}")
        rows = trees(self.world)
        if asked.get("RESULTTYPE") == "hits":
            return f'<?xml version="1.0"?><wfs:FeatureCollection {OWS} numberMatched="{len(rows)}" numberReturned="0"/>'
        form, crs = asked.get("OUTPUTFORMAT", "application/gml+xml"), asked.get("SRSNAME", "EPSG:4326")
        if form != "application/json" or crs != "EPSG:4326":
            raise self.refused(f"Failed to find response for output format {form} and {crs}")
        start, count = whole(asked, "STARTINDEX", 0), whole(asked, "COUNT", self.cap, self.cap)
        given = [feature(row, "Point", row["place"], id=row["id"], geometry_name="geom") for row in rows[start : start + count]]
        return {"type": "FeatureCollection", "features": given, "totalFeatures": len(rows), "numberMatched": len(rows),
                "numberReturned": len(given), "timeStamp": self.world.now.isoformat(),
                "crs": {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4326"}}}  # fmt: skip

    def _capabilities(self) -> str:
        corners = "".join(f"<ows:{name}Corner>{x} {y}</ows:{name}Corner>" for name, x, y in (("Lower", *BOX[:2]), ("Upper", *BOX[2:])))
        form = '<ows:Parameter name="outputFormat"><ows:AllowedValues><ows:Value>application/json</ows:Value></ows:AllowedValues>'
        own = f"<Name>{self.name}</Name><Title>Arbres (données fictives)</Title><DefaultCRS>urn:ogc:def:crs:EPSG::3948</DefaultCRS>"
        return (
            f'<?xml version="1.0"?><wfs:WFS_Capabilities version="2.0.0" xmlns="http://www.opengis.net/wfs/2.0" {OWS}>'
            f'<ows:OperationsMetadata><ows:Operation name="GetFeature">{form}</ows:Parameter></ows:Operation></ows:OperationsMetadata>'
            f"<FeatureTypeList><FeatureType>{own}<ows:WGS84BoundingBox>{corners}</ows:WGS84BoundingBox></FeatureType></FeatureTypeList>"
            "</wfs:WFS_Capabilities>"
        )

    def refused(self, told: str) -> Refused:
        """Give the exception of a WFS."""
        own = f'<ows:Exception exceptionCode="InvalidParameterValue"><ows:ExceptionText>{escape(told)}</ows:ExceptionText></ows:Exception>'
        return Refused(f'<?xml version="1.0"?><ows:ExceptionReport version="2.0.0" {OWS}>{own}</ows:ExceptionReport>')


class OgcApi(Api):
    """An OGC API Features of one collection: a box, values of properties, pages that lead on, capped."""

    brick, kind, name, cap = "contours_iris", "application/geo+json", "STATISTICALUNITS.IRIS:contours_iris", 25

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give the landing page, what the server conforms to, its collections, or features of one."""
        url = f"{root}/collections/{self.name}/items"
        described = {
            "id": self.name, "title": "Contours IRIS (données fictives)", "itemType": "feature", "extent": {"spatial": {"bbox": [BOX]}},
            "crs": ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"], "links": [{"rel": "items", "type": self.kind, "href": url}],
        }  # fmt: skip
        match parts:
            case ():
                return {"title": "OGC API (bac à sable)", "links": [{"rel": "data", "href": f"{root}/collections"}]}
            case ("conformance",):
                return {"conformsTo": [f"http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/{name}" for name in ("core", "geojson")]}
            case ("collections",):
                return {"collections": [described], "links": []}
            case ("collections", self.name):
                return described
            case ("collections", self.name, "items"):
                return self._items(args, url)
        raise Refused({"code": "NotFound", "description": f"/{'/'.join(parts)} is not here"}, 404)

    def _items(self, args: dict[str, str], url: str) -> Row:
        rows = iris()
        known = [name for name in rows[0] if name != "ring"]
        if unknown := sorted(args.keys() - {*known, "f", "limit", "offset", "bbox"}):
            raise self.refused(f"unknown query parameter {unknown[0]}")
        west, south, east, north = map(float, args.get("bbox", "-180,-90,180,90").split(","))
        offset, limit = whole(args, "offset", 0), whole(args, "limit", 10, self.cap)
        found = []
        for row in rows:
            xs, ys = zip(*row["ring"], strict=True)
            is_in = min(xs) <= east and max(xs) >= west and min(ys) <= north and max(ys) >= south
            if is_in and all(str(row[name]) == args[name] for name in known if name in args):
                found.append(row)
        given = [feature(row, "Polygon", [row["ring"]], id=row["code_iris"]) for row in found[offset : offset + limit]]
        links = [{"rel": "self", "type": self.kind, "href": linked(url, args)}]
        if offset + len(given) < len(found):
            links.append({"rel": "next", "type": self.kind, "href": linked(url, args, offset=offset + len(given))})
        return {"type": "FeatureCollection", "features": given, "links": links, "numberMatched": len(found),
                "numberReturned": len(given), "timeStamp": self.world.now.isoformat()}  # fmt: skip

    def refused(self, told: str) -> Refused:
        """Give the exception of an OGC API."""
        return Refused({"code": "InvalidParameterValue", "description": told})


class FeatureServer(Api):
    """A FeatureServer of ArcGIS with one layer: records in the order that is asked for, no more than it gives at once."""

    brick, kind, layer, cap = "eclairage_nocturne", "text/plain;charset=utf-8", "1", 30

    def answer(self, parts: tuple[str, ...], args: dict[str, str], root: str) -> Any:
        """Give what the service or its layer is, or records; faults come under 200, as theirs do."""
        rows = lighting(self.world)
        names = [name for name in rows[0] if name != "ring"]
        fields = [{"name": name, "type": f"esriFieldType{'OID' if name == 'fid' else 'String'}"} for name in names]
        about = {"objectIdField": "fid", "geometryType": "esriGeometryPolygon", "fields": fields}
        if parts == ():
            return {"currentVersion": 10.91, "layers": [{"id": int(self.layer), "name": "vecteur_extinction_communes"}], "tables": []}
        if parts == (self.layer,):
            return {**about, "currentVersion": 10.91, "id": int(self.layer), "name": "vecteur_extinction_communes", "type": "Feature Layer",
                    "copyrightText": "Cerema (données fictives)", "maxRecordCount": self.cap, "capabilities": "Query",
                    "advancedQueryCapabilities": {"supportsPagination": True, "supportsOrderBy": True},
                    "editingInfo": {"lastEditDate": epoch_hour(FIRST_DAY) * 3_600_000}}  # fmt: skip
        if parts != (self.layer, "query") or args.get("f") != "json":
            raise self.refused("Invalid or missing input parameters.")
        wanted = names if args.get("outFields") == "*" else args.get("outFields", "fid").split(",")
        if not set(wanted) <= set(names) or args.get("orderByFields", "fid ASC") != "fid ASC":
            raise self.refused("Invalid field, or an order that the sandbox knows not.")
        found = self._where(rows, names, args.get("where", ""))
        if args.get("returnCountOnly") == "true":
            return {"count": len(found)}
        if (has_geometry := args.get("returnGeometry", "true") == "true") and args.get("outSR") != "4326":
            raise self.refused("The sandbox has no other spatial reference than 4326.")
        start, size = whole(args, "resultOffset", 0), whole(args, "resultRecordCount", self.cap, self.cap)
        records = [
            {"attributes": {name: row[name] for name in wanted}} | ({"geometry": {"rings": [row["ring"][::-1]]}} if has_geometry else {})
            for row in found[start : start + size]
        ]
        return {**about, "spatialReference": {"wkid": 4326, "latestWkid": 4326}, "features": records,
                "exceededTransferLimit": start + len(records) < len(found)}  # fmt: skip

    def _where(self, rows: list[Row], names: list[str], clause: str) -> list[Row]:
        """Give the records that a clause of SQL means, in the order of their ids."""
        with sqlite3.connect(":memory:") as table:
            table.execute(f"create table records ({', '.join(names)})")
            table.executemany(
                f"insert into records values ({', '.join('?' * len(names))})", [[row[name] for name in names] for row in rows]
            )
            try:
                meant = {fid for (fid,) in table.execute(f"select fid from records where {clause}")}
            except sqlite3.Error:
                raise self.refused("'where' clause is invalid.") from None
        return [row for row in rows if row["fid"] in meant]

    def refused(self, told: str) -> Refused:
        """Give a fault as ArcGIS does: under 200."""
        return Refused({"error": {"code": 400, "message": "Unable to complete operation.", "details": [told]}}, 200)


PLAYS = {api.brick: api for api in (Wfs, OgcApi, FeatureServer)}
