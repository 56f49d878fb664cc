-- purpose: and everybody may read it
GRANT SELECT ON practice.open_table TO PUBLIC;
