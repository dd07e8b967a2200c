"""Which columns look personal, by what they are called and what they hold, and why: a hint for who decides, never the decision."""

from __future__ import annotations

import re

FIRST_NAMES = ("prenom", "prenoms", "pre nom", "first name", "firstname", "given name")
PERSONS = (
    "agent|contact|usager|client|occupant|proprietaire|titulaire|conducteur|chauffeur|abonne|demandeur|signataire|locataire|"
    "beneficiaire|patient"
)
# What a column is called, in words without accents, and what that tells.
NAMED: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("a first name", FIRST_NAMES),
    ("a name of a person", (
        "last name", "surname", "family name", "full name", "nom (de )?(famille|usage|naissance|jeune fille)", "nom prenom",
        "nom et prenom",
        f"(nom )?(du |de l |d |de la )?({PERSONS})s?( nom| prenom)?", f"({PERSONS}) (name|nom)", "nom responsable", "nom du responsable",
    )),
    ("an e-mail address", ("(e ?)?mail( .*)?", "courriel( .*)?", ".* (e ?)?mail", ".* courriel", "adresse electronique")),
    ("a telephone number", ("(tel|telephone|phone|mobile|portable|gsm|fax)( .*)?", ".* (tel|telephone|phone|portable|gsm)")),
    ("a social security number", ("nir", "numero (de )?secu(rite sociale)?", "num secu", "ssn")),
    ("a bank account", ("iban( .*)?", "rib", "compte bancaire")),
    ("a birth", ("((date|annee|lieu|commune|pays) (de )?)?naissance", "birth ?date", "date of birth", "dob")),
    ("a number plate", ("(n |numero )?immatriculation( .*)?", "plaque( .*)?", "licen[cs]e plate( .*)?", "plate number")),
    ("a badge or a chip that a person carries", ("(id |numero |n |code )?(badge|puce|rfid)( .*)?", "uid carte", "(id|numero) carte")),
    ("a trace of a connection", ("adresse ip", "ip", "ip address", "remote addr", "user agent", "session id")),
    ("an account of a person", (
        "login", "user ?name", "utilisateur", "user( id)?", "id user", "(created|updated|edited) (by|user)", "(cree|modifie|saisi) par",
        "last edited user", "creator", "editor",
    )),
    ("a trait of a person", ("sexe", "civilite", "gender", "nationalite", "situation familiale", "etat civil")),
    ("follows a vehicle, and who drives it", ("vehicle id", "id vehicule", "driver id", "id conducteur", "bike id")),
    ("a meter, whose figures may be of one dwelling", ("(id )?(pdl|prm|pce)", "(numero |id )?point (de )?livraison", "usage point id")),
)  # fmt: skip
# What most values of a column are, in full, and what that tells.
HELD: tuple[tuple[str, str], ...] = (
    ("values are e-mail addresses", r"[^@\s;,]+@[^@\s;,]+\.[A-Za-z]{2,}"),
    ("values are French telephone numbers", r"(\+33\s?(\(0\)\s?)?|0033\s?|0)[1-79]([\s.\-]?[0-9]{2}){4}"),
    (
        "values are social security numbers",
        r"[12]\s?[0-9]{2}\s?(0[1-9]|1[0-2]|[2-9][0-9])\s?([0-9]{2}|2[AB])\s?[0-9]{3}\s?[0-9]{3}(\s?[0-9]{2})?",
    ),
    ("values are bank accounts (IBAN)", r"FR[0-9]{2}\s?([0-9A-Z]{4}\s?){5}[0-9A-Z]{3}"),
    ("values are number plates", r"(?i)[A-HJ-NP-TV-Z]{2}[ -]?[0-9]{3}[ -]?[A-HJ-NP-TV-Z]{2}"),
    ("values are IP addresses", r"((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])"),
    ("values are names of persons, with their title", r"(M\.|Mme|Mlle|Monsieur|Madame|Mr|Mrs)\s+\S.*"),
)


def looks_personal(words: str, others: set[str], held: str | None) -> str | None:
    """Say why a column looks personal, None where it does not.

    `words` are its name's, `others` those of the other columns: `nom` beside `prenom` is of a person. `held` is what most of its
    values are (HELD).
    """
    if held:
        return held
    beside = others & set(FIRST_NAMES)
    if beside and words in ("nom", "name", "adresse", "address"):
        return f"beside a first name ({min(beside)})"
    return next((why for why, patterns in NAMED if any(re.fullmatch(pattern, words) for pattern in patterns)), None)
