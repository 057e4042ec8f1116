"""``mdpr compare``: methods side by side, trained and evaluated under the same conditions.

=====================  =====================================================================================
``shared``             the conditions all runs share: data, input, sampler, schedule, batch
``methods``            what a run has of its own: model and losses, from any config
``ablations``          MDPR's ablations, as named overrides
``grid``               every combination of settings, as rows
``plan``               the runs, and what is printed before anything runs
``launch``             runs them; resumes, survives failures and interruption
``launchers``          where they run: processes of this machine, or jobs of a cluster
``jobs``               the jobs of a comparison: ``--status`` and ``--cancel``
``processes``          starts and ends them, on every system
``progress``           the line that says how far they are
``records``            the files in a run's folder, by which the comparison and its runs communicate
``worker``             one run: train, evaluate, write ``result.json`` and ``ranking.npz``
``evaluate``           what is measured of a trained network
``provenance``         machine, versions, commit
``summary``            means and deviations over seeds, what is best; ``results.json`` and ``.csv``
``table``, ``plots``   the outcome as Markdown and as pictures; ``curves`` reads how training went
``page``               the outcome as one self-contained page: ``templates/``, ``rank_lists`` and ``pictures``
``report``             writes all of it
=====================  =====================================================================================
"""
