with energy_by_building_month as (
    select * from {{ ref('energy_by_building_month') }}
),

operators as (
    select * from {{ ref('building_operators') }}
    where valid_to is null
),

epci_members as (
    select * from {{ ref('stg_insee_cog__epci_members') }}
),

publishable as (

    select energy_by_building_month.*
    from energy_by_building_month
    -- No enterprise, no household: public bodies, of which the steward lets be shown.
    inner join operators
        on
            energy_by_building_month.operator = operators.operator
            and operators.is_public
    inner join epci_members
        on
            energy_by_building_month.commune_code = epci_members.commune_code
            and epci_members.epci_code = {{ epci_code() }}
    where energy_by_building_month.is_publishable

),

figures as (

    select
        commune_code,
        month_date,
        energy,
        'consumption' as flow,
        building_id,
        consumption_kwh as kwh
    from publishable
    union all
    select
        commune_code,
        month_date,
        energy,
        'injection' as flow,
        building_id,
        produced_kwh as kwh
    from publishable
    where produced_kwh is not null

),

disclosed as (

    {{ disclosed_over_time(
        'figures', 'public_buildings', ['commune_code', 'month_date', 'energy', 'flow'],
        'building_id', 'kwh', standing=published()
    ) }}

)

select
    -- keys
    building_id,
    month_date,
    energy,
    flow,
    commune_code,

    -- attributes
    is_present,
    is_suppressed,
    has_counted,
    is_waiting,

    -- measures
    counted_kwh

from disclosed
