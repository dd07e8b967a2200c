"""The site: static pages of one access class, in every language of the territory, drawn from the marts' YAML and their files."""
