"""Air-gap bundles: images carried to a site by hand, under the same rules as by the link."""
