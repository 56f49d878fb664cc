-- purpose: publications: what leaves the database by logical replication
-- scope: database
-- columns: item text; the others are facts
-- source: PostgreSQL 17, pg_publication, pg_publication_rel, pg_publication_namespace
SELECT format('%I', p.pubname) AS item, coalesce(pg_catalog.quote_ident(r.rolname), 'nobody') AS owner,
       CASE WHEN p.puballtables THEN 'every table' ELSE coalesce(
         (SELECT string_agg(one, ', ' ORDER BY one) FROM (
            SELECT format('%I.%I', n.nspname, c.relname) || CASE WHEN t.prattrs IS NOT NULL THEN ' (some columns)' ELSE '' END
                   || CASE WHEN t.prqual IS NOT NULL THEN ' (some rows)' ELSE '' END AS one
            FROM pg_catalog.pg_publication_rel AS t
            JOIN pg_catalog.pg_class AS c ON c.oid = t.prrelid
            JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace WHERE t.prpubid = p.oid
            UNION ALL
            SELECT format('every table in schema %I', n.nspname)
            FROM pg_catalog.pg_publication_namespace AS s
            JOIN pg_catalog.pg_namespace AS n ON n.oid = s.pnnspid WHERE s.pnpubid = p.oid) AS listed), '') END AS tables,
       concat_ws(', ', CASE WHEN p.pubinsert THEN 'insert' END, CASE WHEN p.pubupdate THEN 'update' END, CASE WHEN p.pubdelete THEN 'delete' END,
                 CASE WHEN p.pubtruncate THEN 'truncate' END) AS operations
FROM pg_catalog.pg_publication AS p LEFT JOIN pg_catalog.pg_roles AS r ON r.oid = p.pubowner
ORDER BY 1;
