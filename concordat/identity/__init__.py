"""Who is who: names, keys, certificates, the signed manifest and a party's own folder."""
