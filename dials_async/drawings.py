"""What a domain that draws an episode and the report that shows it have to agree on."""

#: A report with a larger drawing opens slowly on a phone and is awkward to mail.
MAX_SCENE_BYTES = 1_500_000
