-- Who is in a group is said by the nodes' groups alone; what groups listed themselves becomes that.
WITH RECURSIVE member (grp, node, rest) AS (
    SELECT name, '', value || ',' FROM attribute WHERE type = 'group' AND attr = 'members'
    UNION ALL
    SELECT grp, trim(substr(rest, 1, instr(rest, ',') - 1)), substr(rest, instr(rest, ',') + 1)
    FROM member WHERE rest <> ''
)
INSERT INTO attribute (type, name, attr, value)
SELECT 'node', node, 'groups', group_concat(grp)
FROM (
    SELECT DISTINCT m.node, m.grp
    FROM member m
    JOIN object o ON o.type = 'node' AND o.name = m.node
    LEFT JOIN attribute a ON a.type = 'node' AND a.name = m.node AND a.attr = 'groups'
    WHERE instr(',' || replace(coalesce(a.value, ''), ' ', '') || ',', ',' || m.grp || ',') = 0
    ORDER BY m.node, m.grp
)
WHERE true
GROUP BY node
ON CONFLICT DO UPDATE SET value = value || ',' || excluded.value;

DELETE FROM attribute WHERE type = 'group' AND attr = 'members';
