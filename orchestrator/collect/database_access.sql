-- The queries of kind database_access: one text column each, asked in every database. Left out are
-- the objects of PostgreSQL's own schemas, and where it says so those of extensions.

-- public_create_schemas: where everybody may make objects
SELECT nspname FROM pg_namespace n
WHERE n.nspname !~ '^pg_(toast|temp)' AND has_schema_privilege('public', n.oid, 'CREATE')
ORDER BY 1;

-- public_relations: what everybody may do with a table, view, sequence or a column of one
SELECT DISTINCT privilege_type || ' on ' || c.oid::regclass
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
CROSS JOIN LATERAL (
    SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)
) acl
WHERE grantee = 0 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;

-- grants: what others than the owner may do with relations, by schema and role
SELECT string_agg(DISTINCT privilege_type, ',' ORDER BY privilege_type)
    || ' on schema ' || n.nspname || ' to ' || pg_get_userbyid(grantee)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attacl IS NOT NULL
CROSS JOIN LATERAL (
    SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(a.attacl)
) acl
WHERE grantee NOT IN (0, c.relowner)
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
GROUP BY n.nspname, grantee
ORDER BY 1;

-- default_privileges: what others than the owner will be able to do with what is made from now on
SELECT privilege_type || ' on new '
    || CASE defaclobjtype WHEN 'r' THEN 'tables' WHEN 'S' THEN 'sequences'
        WHEN 'f' THEN 'functions' WHEN 'T' THEN 'types' ELSE 'schemas' END
    || ' of ' || pg_get_userbyid(defaclrole) || ' to '
    || CASE grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(grantee) END
FROM pg_default_acl
CROSS JOIN aclexplode(defaclacl)
WHERE grantee <> defaclrole
ORDER BY 1;

-- system_grants: rights on PostgreSQL's own functions and relations that initdb did not give
SELECT 'EXECUTE on ' || p.oid::regprocedure || ' to '
    || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
FROM pg_proc p
JOIN pg_init_privs i ON i.objoid = p.oid AND i.classoid = 'pg_proc'::regclass
CROSS JOIN aclexplode(p.proacl) a
WHERE p.pronamespace = 'pg_catalog'::regnamespace AND a.grantee <> p.proowner
    AND NOT EXISTS (SELECT FROM aclexplode(i.initprivs) j WHERE j.grantee = a.grantee)
UNION ALL
SELECT a.privilege_type || ' on ' || c.oid::regclass || ' to '
    || CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE pg_get_userbyid(a.grantee) END
FROM pg_class c
CROSS JOIN aclexplode(c.relacl) a
WHERE c.relnamespace = 'pg_catalog'::regnamespace AND a.grantee <> c.relowner
    AND NOT EXISTS (
        SELECT FROM pg_init_privs i
        CROSS JOIN aclexplode(i.initprivs) j
        WHERE i.objoid = c.oid AND i.classoid = 'pg_class'::regclass AND i.objsubid = 0
            AND j.grantee = a.grantee AND j.privilege_type = a.privilege_type
    )
ORDER BY 1;

-- owners: who owns something in which schema, extensions' objects left out
SELECT DISTINCT pg_get_userbyid(c.relowner) || ' owns of schema ' || n.nspname
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f')
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
    )
UNION
SELECT pg_get_userbyid(p.proowner) || ' owns of schema ' || n.nspname
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_proc'::regclass AND objid = p.oid AND deptype = 'e'
    )
ORDER BY 1;

-- definer_functions: what runs with its owner's rights
SELECT p.oid::regprocedure || ' of ' || pg_get_userbyid(p.proowner)
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
ORDER BY 1;

-- definer_functions_without_path: of them, those that look names up where their caller says
SELECT p.oid::regprocedure::text
FROM pg_proc p
JOIN pg_namespace n ON n.oid = p.pronamespace
WHERE p.prosecdef AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM unnest(p.proconfig) one WHERE one LIKE 'search_path=%')
ORDER BY 1;

-- superuser_views: views that read with a superuser's rights, extensions' left out
SELECT c.oid::regclass::text
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_roles r ON r.oid = c.relowner
WHERE r.rolsuper AND c.relkind = 'v'
    AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT coalesce(c.reloptions && ARRAY['security_invoker=true', 'security_invoker=on'], false)
    AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
    )
ORDER BY 1;

-- event_triggers: what runs at every change of structure
SELECT evtname || ' by ' || evtfoid::regproc FROM pg_event_trigger ORDER BY 1;

-- event_triggers_off: of them, those that were switched off
SELECT evtname::text FROM pg_event_trigger WHERE evtenabled = 'D' ORDER BY 1;

-- extensions: what is installed
SELECT extname::text FROM pg_extension ORDER BY 1;

-- extension_updates: of them, those whose version is not the one on the server's disk
SELECT e.extname || ' ' || e.extversion || ', not ' || a.default_version
FROM pg_extension e
JOIN pg_available_extensions a ON a.name = e.extname
WHERE e.extversion <> a.default_version
ORDER BY 1;

-- untrusted_languages: languages whose functions do what the server's system user may do
SELECT lanname::text FROM pg_language
WHERE NOT lanpltrusted AND lanname NOT IN ('internal', 'c')
ORDER BY 1;

-- row_security_off: tables with policies of rows that are not in force
SELECT DISTINCT c.oid::regclass::text
FROM pg_policy p
JOIN pg_class c ON c.oid = p.polrelid
WHERE NOT c.relrowsecurity
ORDER BY 1;

-- outlets: ways of data out of the database
SELECT 'foreign server ' || srvname FROM pg_foreign_server
UNION ALL
SELECT 'publication ' || pubname FROM pg_publication
UNION ALL
SELECT 'subscription ' || subname FROM pg_subscription
WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())
ORDER BY 1;
