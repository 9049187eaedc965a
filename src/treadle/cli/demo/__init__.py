"""``treadle demo``: a real year of flights, played on a manual clock."""
