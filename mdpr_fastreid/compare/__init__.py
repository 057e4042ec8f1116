"""``mdpr compare``: methods side by side, trained and evaluated under the same conditions.

=====================  ================================================================================
``shared``             the conditions all runs share: data, input, sampler, schedule, batch
``methods``            what a run has of its own: model and losses, from any config
``ablations``          MDPR's ablations, as named overrides
``plan``               the runs, and what is printed before anything runs
``launch``             runs them, one process each; resumes, survives failures and interruption
``worker``             one run: train, evaluate, write ``result.json`` and ``ranking.npz``
``evaluate``           what is measured of a trained network
``summary``            means and deviations over seeds, what is best; ``results.json`` and ``.csv``
``table``, ``plots``   as Markdown, as pictures
``report``             one self-contained page
=====================  ================================================================================
"""
