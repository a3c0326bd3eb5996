from . import plots as plots
from .app.compare.compare import compare as compare
from .app.pipeline import adapt as adapt
from .app.pipeline import run as run
from .app.pipeline import score as score
from .app.study.study import study as study
from .config import Config as Config
from .config import ModelConfig as ModelConfig
from .config import TrainConfig as TrainConfig
from .config import read_config as read_config
from .core.errors import InputError as InputError
from .data.batch import Batch as Batch
from .data.cohort import Cohort as Cohort
from .data.tables import read_cohort as read_cohort
from .inference.evidence import log_evidence as log_evidence
from .inference.training import fit as fit
from .models.linear import LinearGaussian as LinearGaussian
from .models.vae import MMVAE as MMVAE
from .norm.centiles import centiles as centiles
from .norm.datatree import per_region as per_region
from .norm.datatree import to_datatree as to_datatree
from .norm.normative_model import NormativeModel as NormativeModel
from .norm.normative_model import load as load
from .norm.pyro_svi import from_pyro_svi as from_pyro_svi
from .results.schema import KINDS as KINDS
from .simulation.kinds import simulate as simulate
from .simulation.scenario import Scenario as Scenario

__all__: list[str]
__version__: str
