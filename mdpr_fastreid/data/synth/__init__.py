"""SynthReID: draws pedestrians, cameras and scenes from a seed and writes them as a ReID data set.

From the bottom up: ``exact`` (arithmetic and random numbers that agree everywhere), ``identity``, ``texture``,
``body`` and ``canvas`` (who, what they wear, how they stand, how it is drawn), ``scene``, ``occluders``, ``camera``,
``shot`` (one image), ``presets`` and ``plan`` (which images), ``writer`` (the folder), ``preview`` (contact sheets).
All of that needs NumPy and Pillow only; ``judge`` (figures of a rendered set) needs scikit-learn besides.
"""
