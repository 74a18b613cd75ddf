from noisezoo.builder.audit import verify as verify
from noisezoo.builder.dataset import join as join, publish as publish, remove as remove
from noisezoo.builder.launch import build_dataset as build_dataset, plan as plan, status as status
from noisezoo.builder.models import SCHEMES as SCHEMES, Encoder as Encoder, Inverter as Inverter
from noisezoo.builder.recipe import read_recipe as read_recipe
from noisezoo.builder.sources import open_source as open_source
