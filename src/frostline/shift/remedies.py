"""What helps in each situation, in order, with the reason and who says so."""

from __future__ import annotations

from frostline.shift.findings import Level, Remedy, Situation

ADABN = Remedy(
    arm="adabn",
    action="take BatchNorm's statistics from the target",
    reason="a change of style or sensor mostly moves the means and scales of features",
    source="Li et al. 2016; Schneider et al. 2020",
)
CORAL = Remedy(
    arm="coral",
    action="give the source's features the target's covariance, and fit the head again",
    reason="it makes up for a linear change of the features",
    source="Sun, Feng & Saenko 2016",
)
DEEP_CORAL = Remedy(
    arm="deep-coral",
    action="train on, with features whose covariances are pulled together",
    reason="it does the same in the layers",
    source="Sun & Saenko 2016",
)
DANN = Remedy(
    arm="dann",
    action="train on, with features that a discriminator can't tell apart",
    reason="it makes up for more than a linear change, but harms where classes have other shares",
    source="Ganin et al. 2016",
)
REWEIGHT = Remedy(
    arm="reweight",
    action="weight the source's samples by how typical they are of the target",
    reason="it suits a target that lies within what the source covers",
    source="Shimodaira 2000; Byrd & Lipton 2019",
)
EM = Remedy(
    arm="em",
    action="correct the probabilities for the target's shares of the classes",
    reason="with other shares alone, that correction is all there is to do",
    source="Saerens, Latinne & Decaestecker 2002; Alexandari, Kundaje & Shrikumar 2020",
)
BBSE = Remedy(
    arm="bbse",
    action="the same, with shares from the confusions of held-out predictions",
    reason="it doesn't ask for calibrated probabilities",
    source="Lipton, Wang & Smola 2018",
)
SELF_TRAIN = Remedy(
    arm="self-train",
    action="learn from the target's own confident predictions",
    reason="it helps where most of these are right already",
    source="Lee 2013; Zou et al. 2018",
)
ENTROPY = Remedy(
    arm="entropy",
    action="make predictions on the target more certain, through the normalisation layers alone",
    reason="it needs no source samples",
    source="Wang et al. 2021",
)
SURGICAL: dict[Level, Remedy] = {
    "input": Remedy(
        arm="surgical-first",
        action="label some of the target, and train the first third of the stages on them",
        reason="the sides differ at the input, so the first stages can make up for it",
        source="Lee et al. 2023",
    ),
    "feature": Remedy(
        arm="surgical-middle",
        action="label some of the target, and train the middle third of the stages on them",
        reason="the sides differ in the features of the middle stages",
        source="Lee et al. 2023",
    ),
    "output": Remedy(
        arm="surgical-last",
        action="label some of the target, and train the last third of the stages on them",
        reason="the sides differ at the output alone",
        source="Lee et al. 2023",
    ),
}
LABEL_MORE = Remedy(
    arm=None,
    action="label some of the target, and run frostline fit on both together",
    reason="labels are the only thing that always helps",
    source="Ben-David et al. 2010",
)
NEW_CLASSES = Remedy(
    arm=None,
    action="add the new classes to the labelled data, and run frostline fit again",
    reason="a network never answers with a class that it doesn't have",
    source="Panareda Busto & Gall 2017",
)
ABSTAIN = Remedy(
    arm=None,
    action="until then let the model abstain: frostline fit --abstain 0.95",
    reason="samples of unknown classes tend to get unsure answers, though not always",
    source="Hendrycks & Gimpel 2017",
)
AS_IS = Remedy(
    arm="as-is",
    action="use the model as it is",
    reason="nothing that calls for another was shown",
    source="Musgrave, Belongie & Lim 2022",
)
MORE_SAMPLES = Remedy(
    arm=None,
    action="collect more samples of the target",
    reason="with these few, no difference could be told from chance",
    source="Rabanser, Günnemann & Lipton 2019",
)
COVARIATE = (ADABN, CORAL, DEEP_CORAL, SELF_TRAIN, ENTROPY, DANN, REWEIGHT)


def remedies_for(situation: Situation, level: Level | None) -> tuple[Remedy, ...]:
    """Return what helps, the most promising first."""
    surgical = (SURGICAL[level],) if level is not None else ()
    found: dict[Situation, tuple[Remedy, ...]] = {
        "none-shown": (AS_IS,),
        "covariate": (*COVARIATE, *surgical, LABEL_MORE),
        "label": (EM, BBSE, LABEL_MORE),
        "concept": (SURGICAL["output"], LABEL_MORE),
        "new-classes": (NEW_CLASSES, ABSTAIN),
        "mixed": (ADABN, EM, BBSE, SELF_TRAIN, *surgical, LABEL_MORE),
        "cannot-tell": (AS_IS, MORE_SAMPLES),
    }
    return found[situation]
