from noisezoo.builder.sources.ids import hash_unit as hash_unit
from noisezoo.builder.sources.manifest import Manifest as Manifest, freeze as freeze, spare_keys as spare_keys
from noisezoo.builder.sources.open import Refusal as Refusal, Source as Source, open_source as open_source
from noisezoo.builder.sources.pixels import signed as signed, to_channels as to_channels, to_rgb as to_rgb
